#include "layer/layer_mount.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "kernel/mount.h"
#include "kernel/overlay.h"
#include "kernel/root_file.h"
#include "kernel/tree.h"
#include "layer/image_head.h"
#include "layer/layer_end.h"

namespace cais {

namespace {

constexpr const char* kProbeName = "probe";
constexpr std::string_view kProbeContent = "cais";
constexpr size_t kTarBlockBytes = 512;

// A layer image with one file, through the same code that writes every layer.
Status WriteProbeImage(int directory_fd) {
  Result<std::unique_ptr<LayerEnd>> opened = OpenErofsImage(
      directory_fd, EndLimits{.max_entries = 8, .max_metadata_bytes = 1 << 20, .reserve_bytes = 0});
  if (!opened.ok()) return opened.failure();
  LayerEnd& end = *opened.value();

  TarEntry entry;
  entry.name = kProbeName;
  entry.mode = 0644;
  entry.size = kProbeContent.size();
  entry.runs = {{.file_offset = 0, .tar_offset = kTarBlockBytes, .length = kProbeContent.size()}};
  std::string data(kProbeContent);
  data.resize(kTarBlockBytes, '\0');

  // The bytes of the header do not matter to an end: it has the entry.
  Status fed = end.TarBytes(std::string(kTarBlockBytes, '\0'));
  if (fed.ok()) fed = end.Entry(std::move(entry));
  if (fed.ok()) fed = end.TarBytes(data);
  if (fed.ok()) fed = end.FileData(0, kProbeContent);
  if (fed.ok()) fed = end.EndEntry();
  if (fed.ok()) fed = end.TarBytes(std::string(2 * kTarBlockBytes, '\0'));
  if (!fed.ok()) return fed;
  Result<EndSummary> summary = end.Finish();
  if (!summary.ok()) return summary.failure();
  return Done{};
}

// A directory of our own, removed with everything in it.
class ScratchDirectory {
 public:
  static Result<std::unique_ptr<ScratchDirectory>> Make(const std::string& parent) {
    std::string path = parent + "/probe-XXXXXX";
    if (mkdtemp(path.data()) == nullptr) return Errno("make directory", path);
    return std::unique_ptr<ScratchDirectory>(new ScratchDirectory(path));
  }
  ~ScratchDirectory() { (void)RemoveTree(path_); }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  explicit ScratchDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

std::string Refused(const char* what, const Failure& failure) {
  std::string text = std::string("The kernel cannot ") + what + ": ";
  if (failure.error == 0) return text + failure.path;
  text += failure.step + ": " + strerror(failure.error);
  return failure.path.empty() ? text : text + " (" + failure.path + ")";
}

}  // namespace

Result<UniqueFd> MountLayer(const std::string& path) {
  const UniqueFd image(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!image) return Errno("open", path);
  Result<ImageHead> head = ReadImageHead(image.get());
  if (!head.ok()) return head.failure();
  return MountErofs(image.get());
}

Result<std::string> ProbeLayerMount(const std::string& directory) {
  Result<std::unique_ptr<ScratchDirectory>> scratch = ScratchDirectory::Make(directory);
  if (!scratch.ok()) return scratch.failure();
  const std::string& path = scratch.value()->path();
  OverlayMount overlay;
  overlay.upper = OverlayUpper{path + "/upper", path + "/work"};
  overlay.link_directory = path;
  for (const std::string& made : {overlay.upper->upper_directory, overlay.upper->work_directory}) {
    if (mkdir(made.c_str(), 0700) != 0) return Errno("mkdir", made);
  }
  const UniqueFd directory_fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory_fd) return Errno("open", path);
  Status written = WriteProbeImage(directory_fd.get());
  if (!written.ok()) return written.failure();

  Result<UniqueFd> layer = MountLayer(path + "/layer");
  if (!layer.ok()) return Refused("mount a layer image from its file", layer.failure());
  overlay.lower.push_back({layer.value().get(), {}});
  Result<UniqueFd> root = MountOverlay(overlay);
  if (!root.ok()) return Refused("put an overlay on a detached layer", root.failure());
  Result<std::optional<std::string>> content =
      ReadFileInRoot(root.value().get(), kProbeName, kProbeContent.size());
  if (!content.ok()) return Refused("read a file of a layer image", content.failure());
  if (content.value() != kProbeContent) {
    return std::string("The kernel reads other bytes from a layer image than were written");
  }
  const UniqueFd made(
      openat(root.value().get(), "written", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!made) return Refused("write through an overlay on a layer image", Errno("open"));
  return std::string();
}

}  // namespace cais
