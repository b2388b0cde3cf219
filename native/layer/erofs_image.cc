#include <fcntl.h>
#include <sys/stat.h>

#include <memory>
#include <utility>

#include "kernel/unique_fd.h"
#include "layer/erofs_metadata.h"
#include "layer/image_head.h"
#include "layer/image_writer.h"
#include "layer/layer_end.h"
#include "layer/layer_tree.h"

namespace cais {
namespace {

// The image form: the tar goes to the file as it comes, its entries to a tree in memory, and the
// metadata that makes a file system of both follows at the end.
class ErofsImage final : public LayerEnd {
 public:
  ErofsImage(UniqueFd fd, const EndLimits& limits)
      : fd_(std::move(fd)), tree_(limits), writer_(fd_.get(), limits.reserve_bytes) {}

  Status Start() { return writer_.AppendZeros(kImageTarOffset); }

  Status TarBytes(std::string_view bytes) override { return writer_.Append(bytes); }

  Status Entry(TarEntry entry) override {
    Result<LayerChange> change = tree_.Add(entry);
    if (!change.ok()) return change.failure();
    return Done{};
  }

  // The data is in the tar already.
  Status FileData(uint64_t, std::string_view) override { return Done{}; }
  Status EndEntry() override { return Done{}; }

  Result<EndSummary> Finish() override {
    ErofsMetadata metadata(tree_, writer_);
    const Status written = metadata.Write();
    if (!written.ok()) return written.failure();
    writer_.Trim();
    struct stat status;
    if (::fstat(fd_.get(), &status) != 0) return Errno("fstat", "layer");
    return EndSummary{tree_.entries(), static_cast<uint64_t>(status.st_blocks) * 512,
                      tree_.ImpliedDirectories()};
  }

 private:
  UniqueFd fd_;
  LayerTree tree_;
  ImageWriter writer_;
};

}  // namespace

Result<std::unique_ptr<LayerEnd>> OpenErofsImage(int directory_fd, const EndLimits& limits) {
  UniqueFd fd(
      ::openat(directory_fd, "layer", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return Errno("openat", "layer");
  auto image = std::make_unique<ErofsImage>(std::move(fd), limits);
  const Status started = image->Start();
  if (!started.ok()) return started.failure();
  return Result<std::unique_ptr<LayerEnd>>(std::move(image));
}

}  // namespace cais
