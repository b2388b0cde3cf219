#include "kernel/overlay.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "kernel/detached_mount.h"
#include "kernel/frame_socket.h"
#include "kernel/mount.h"
#include "kernel/program.h"
#include "kernel/spawn.h"

namespace cais {

namespace {

// mount(2) copies one page of options, with the terminator.
constexpr size_t kMaxOptionBytes = 4095;
constexpr int64_t kHelperTimeoutMs = 30'000;
// A name that no link has: they are numbers.
constexpr const char* kEmptyLayer = "empty";

constexpr std::pair<const char*, const char*> kFixedOptions[] = {
    {"redirect_dir", "nofollow"}, {"metacopy", "off"}, {"index", "off"}, {"xino", "off"}};

Failure TooManyLayers(size_t count, const std::string& limit) {
  return Refuse("TOO_MANY_LAYERS", "The kernel cannot mount " + std::to_string(count) +
                                       " layers as one root: " + limit);
}

// Layers as the kernel takes them, top first, and what must stay open until it has.
struct Stack {
  std::vector<OverlayLayer> lower;
  UniqueFd empty_layer;
  std::vector<UniqueFd> clones;
};

// The overlay itself cannot be mapped, nor its upper layer, which would turn it read-only.
Status MapLayers(int user_namespace_fd, Stack* stack) {
  for (OverlayLayer& layer : stack->lower) {
    Result<UniqueFd> clone = CloneMount(layer.fd, "", {});
    if (clone.ok()) {
      Status mapped =
          SetMountAttributes(clone.value().get(), {.user_namespace_fd = user_namespace_fd});
      if (!mapped.ok()) clone = mapped.failure();
    }
    if (!clone.ok()) {
      return Refuse("UNSUPPORTED",
                    std::string("This kernel, or the file system of the layers, cannot map ids for "
                                "a user namespace (layers as images: Linux 6.15): ") +
                        strerror(clone.failure().error));
    }
    layer.fd = clone.value().get();
    layer.link.clear();
    stack->clones.push_back(std::move(clone.value()));
  }
  return Done{};
}

// overlayfs wants two lower layers where there is no upper one: an empty directory then goes below.
Result<Stack> StackLayers(const OverlayMount& overlay) {
  if (overlay.lower.empty()) {
    return Refuse("INVALID_ARGUMENT", "An overlay needs at least one lower layer");
  }
  Stack stack;
  stack.lower.assign(overlay.lower.rbegin(), overlay.lower.rend());
  if (!overlay.upper && stack.lower.size() == 1) {
    const std::string path = overlay.link_directory + "/" + kEmptyLayer;
    if ((mkdir(overlay.link_directory.c_str(), 0700) != 0 && errno != EEXIST) ||
        (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST)) {
      return Errno("mkdir", path);
    }
    stack.empty_layer.Reset(open(path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!stack.empty_layer) return Errno("open", path);
    stack.lower.push_back({stack.empty_layer.get(), kEmptyLayer});
  }
  if (stack.lower.size() > kMaxOverlayLayers) {
    return TooManyLayers(stack.lower.size(), "its limit is " + std::to_string(kMaxOverlayLayers));
  }
  if (overlay.user_namespace_fd >= 0) {
    Status mapped = MapLayers(overlay.user_namespace_fd, &stack);
    if (!mapped.ok()) return mapped.failure();
  }
  return stack;
}

// How layers are told to fsconfig(2).
enum class LayerSyntax { kDescriptor, kPath };

Status SetDirectory(FilesystemContext* context, LayerSyntax syntax, const char* key, int fd) {
  if (syntax == LayerSyntax::kDescriptor) return context->SetDescriptor(key, fd);
  return context->SetString(key, "/proc/self/fd/" + std::to_string(fd));
}

Status SetUpper(FilesystemContext* context, LayerSyntax syntax, const OverlayUpper& upper) {
  const std::pair<const char*, const std::string*> directories[] = {
      {"upperdir", &upper.upper_directory}, {"workdir", &upper.work_directory}};
  for (const auto& [key, path] : directories) {
    const UniqueFd fd(open(path->c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return Errno("open", *path);
    Status set = SetDirectory(context, syntax, key, fd.get());
    if (!set.ok()) return set;
  }
  return Done{};
}

// No value: this kernel does not know the syntax.
Result<std::optional<UniqueFd>> MountByContext(const OverlayMount& overlay, const Stack& stack,
                                               LayerSyntax syntax) {
  Result<FilesystemContext> opened = FilesystemContext::Open("overlay");
  if (!opened.ok()) return opened.failure();
  FilesystemContext& context = opened.value();
  bool first = true;
  for (const OverlayLayer& layer : stack.lower) {
    Status set = SetDirectory(&context, syntax, "lowerdir+", layer.fd);
    if (!set.ok()) {
      if (first && set.failure().error == EINVAL) return std::optional<UniqueFd>();
      return set.failure();
    }
    first = false;
  }
  Status set = Done{};
  if (overlay.upper) {
    set = SetUpper(&context, syntax, *overlay.upper);
    if (set.ok() && overlay.volatile_upper) set = context.SetFlag("volatile");
  }
  for (const auto& [key, value] : kFixedOptions) {
    if (set.ok()) set = context.SetString(key, value);
  }
  if (!set.ok()) return set.failure();
  Result<UniqueFd> mount = context.Mount(0);
  if (!mount.ok()) return mount.failure();
  return std::optional<UniqueFd>(std::move(mount.value()));
}

// Commas end an option, colons a layer; overlayfs takes a backslash before either.
std::string EscapeOption(const std::string& path) {
  std::string escaped;
  for (const char character : path) {
    if (character == ',' || character == ':' || character == '\\') escaped += '\\';
    escaped += character;
  }
  return escaped;
}

Result<std::string> MountOptions(const OverlayMount& overlay, const Stack& stack) {
  std::string options = "lowerdir=";
  for (const OverlayLayer& layer : stack.lower) {
    if (layer.link.empty()) {
      return Refuse("UNSUPPORTED",
                    "This kernel takes no layer by its descriptor (Linux 6.13) and the layer has "
                    "no link");
    }
    if (options.back() != '=') options += ':';
    options += EscapeOption(layer.link);
  }
  if (overlay.upper) {
    options += ",upperdir=" + EscapeOption(overlay.upper->upper_directory) +
               ",workdir=" + EscapeOption(overlay.upper->work_directory);
    if (overlay.volatile_upper) options += ",volatile";
  }
  for (const auto& [key, value] : kFixedOptions) {
    options += std::string(",") + key + "=" + value;
  }
  if (options.size() > kMaxOptionBytes) {
    return TooManyLayers(stack.lower.size(), "before Linux 6.7 all options must fit " +
                                                 std::to_string(kMaxOptionBytes) +
                                                 " bytes, and these take " +
                                                 std::to_string(options.size()));
  }
  return options;
}

void AppendField(std::string* record, uint16_t tag, const std::string& bytes) {
  const uint16_t head[2] = {tag, 0};
  const auto length = static_cast<uint32_t>(bytes.size());
  record->append(reinterpret_cast<const char*>(head), sizeof head);
  record->append(reinterpret_cast<const char*>(&length), sizeof length);
  record->append(bytes);
}

// mount(2) does not say which directory is missing.
Status CheckUpper(const OverlayUpper& upper) {
  for (const std::string* path : {&upper.upper_directory, &upper.work_directory}) {
    const UniqueFd fd(open(path->c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return Errno("open", *path);
  }
  return Done{};
}

// `cais-supervisor mount-overlay`: see native/supervisor/PROTOCOL.md, "Start".
Result<UniqueFd> MountByHelper(const OverlayMount& overlay, const Stack& stack) {
  Result<std::string> options = MountOptions(overlay, stack);
  if (!options.ok()) return options.failure();
  if (overlay.upper) {
    Status there = CheckUpper(*overlay.upper);
    if (!there.ok()) return there.failure();
  }
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    return Errno("socketpair");
  }
  const UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  ProgramStart start;
  start.executable = overlay.supervisor_path;
  start.mode = "mount-overlay";
  AppendField(&start.spec, 1, overlay.link_directory);
  AppendField(&start.spec, 2, options.value());
  start.extra_fd = theirs.get();
  start.timeout_ms = kHelperTimeoutMs;
  Result<std::string> answer = RunProgram(start);
  if (!answer.ok()) return answer.failure();
  if (!answer.value().empty()) return ParseStartAnswer(answer.value()).failure();
  Result<std::vector<UniqueFd>> fds = ReceiveDescriptors(ours.get());
  if (!fds.ok()) return fds.failure();
  if (fds.value().size() != 1) {
    return Refuse("BAD_ANSWER", "\"cais-supervisor mount-overlay\" handed no mount back");
  }
  return std::move(fds.value().front());
}

}  // namespace

Result<UniqueFd> MountOverlay(const OverlayMount& overlay) {
  Result<Stack> stack = StackLayers(overlay);
  if (!stack.ok()) return stack.failure();
  for (const LayerSyntax syntax : {LayerSyntax::kDescriptor, LayerSyntax::kPath}) {
    Result<std::optional<UniqueFd>> mount = MountByContext(overlay, stack.value(), syntax);
    // Before Linux 6.5 overlayfs takes one string of options: descriptors are refused at once, and
    // everything else only when it mounts.
    if (!mount.ok() && mount.failure().error == EOPNOTSUPP) break;
    if (!mount.ok()) return mount.failure();
    if (mount.value()) return std::move(*mount.value());
  }
  return MountByHelper(overlay, stack.value());
}

}  // namespace cais
