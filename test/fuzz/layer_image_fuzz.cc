// The tar reader with the image form behind it: tree, rules and EROFS metadata. Nothing is mounted.

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "fix_checksums.h"
#include "kernel/unique_fd.h"
#include "layer/image_head.h"
#include "layer/tar_reader.h"

namespace {

// A directory that goes away when it is closed.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    const char* parent = std::getenv("TMPDIR");
    std::string path = std::string(parent == nullptr ? "/tmp" : parent) + "/cais-fuzz-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) std::abort();
    path_ = path;
    fd_.Reset(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd_) std::abort();
  }
  ~ScratchDirectory() { (void)::rmdir(path_.c_str()); }
  int fd() const { return fd_.get(); }

 private:
  std::string path_;
  cais::UniqueFd fd_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const ScratchDirectory directory;
  std::string tar(reinterpret_cast<const char*>(data), size);
  cais::FixChecksums(tar);
  {
    auto end = cais::OpenErofsImage(directory.fd(), {100, 1 << 20, 0});
    if (!end.ok()) std::abort();
    cais::TarReader reader(*end.value(), {100, 1 << 20});
    if (reader.Feed(tar).ok() && reader.Finish().ok()) {
      const cais::UniqueFd image(::openat(directory.fd(), "layer", O_RDONLY | O_CLOEXEC));
      const auto head = cais::ReadImageHead(image.get());
      if (!head.ok() || head.value().tar_bytes != tar.size()) std::abort();
      if (!cais::DigestImage(image.get(), [] { return false; }).ok()) std::abort();
    }
  }
  if (::unlinkat(directory.fd(), "layer", 0) != 0) std::abort();
  return 0;
}
