#include "kernel/detached_mount.h"

#include <algorithm>

#include "kernel/syscalls.h"

namespace cais {

namespace {

// Newer than glibc 2.36's sys/mount.h on some machines.
constexpr uint64_t kMountAttrNosymfollow = 0x00200000;
constexpr uint64_t kMsNosymfollow = 256;

// What the file system said about a refused option: the first line of the context's log.
std::string ContextMessage(int context_fd) {
  char text[256];
  const ssize_t length = read(context_fd, text, sizeof text);
  // Each message starts with a letter for its weight and a space.
  if (length <= 2) return {};
  return ": " + std::string(text + 2, static_cast<size_t>(length) - 2);
}

Failure ContextFailure(int context_fd, const char* step, const std::string& path) {
  Failure failure = Errno(step, path);
  failure.path += ContextMessage(context_fd);
  return failure;
}

Status SetOption(int context_fd, const std::string& type, const std::string& option) {
  const size_t equals = option.find('=');
  const std::string key = option.substr(0, equals);
  const int result =
      equals == std::string::npos
          ? fsconfig(context_fd, FSCONFIG_SET_FLAG, key.c_str(), nullptr, 0)
          : fsconfig(context_fd, FSCONFIG_SET_STRING, key.c_str(), option.c_str() + equals + 1, 0);
  if (result != 0) return ContextFailure(context_fd, "fsconfig", type + " " + option);
  return Done{};
}

}  // namespace

Result<UniqueFd> MakeFilesystem(const std::string& type, const std::string& options,
                                uint64_t attributes) {
  UniqueFd context(fsopen(type.c_str(), FSOPEN_CLOEXEC));
  if (!context) return Errno("fsopen", type);
  Status source = SetOption(context.get(), type, "source=" + type);
  if (!source.ok()) return source.failure();
  for (size_t start = 0; start < options.size();) {
    const size_t end = std::min(options.find(',', start), options.size());
    if (end > start) {
      Status set = SetOption(context.get(), type, options.substr(start, end - start));
      if (!set.ok()) return set.failure();
    }
    start = end + 1;
  }
  if (fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return ContextFailure(context.get(), "create file system", type);
  }
  UniqueFd mount(fsmount(context.get(), FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes)));
  if (!mount) return ContextFailure(context.get(), "fsmount", type);
  return mount;
}

Result<UniqueFd> CloneMount(int fd, const std::string& path, const CloneOptions& options) {
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
  if (options.recursive) flags |= AT_RECURSIVE;
  if (!options.follow_links) flags |= AT_SYMLINK_NOFOLLOW;
  if (path.empty()) flags |= AT_EMPTY_PATH;
  UniqueFd mount(open_tree(fd, path.c_str(), flags));
  if (!mount) return Errno("open_tree", path);
  return mount;
}

Status SetMountAttributes(int mount_fd, const MountAttributes& attributes) {
  const bool maps_ids = attributes.user_namespace_fd >= 0;
  if (attributes.set == 0 && attributes.clear == 0 && attributes.propagation == 0 && !maps_ids) {
    return Done{};
  }
  mount_attr attr = {};
  attr.attr_set = attributes.set;
  if (maps_ids) {
    attr.attr_set |= MOUNT_ATTR_IDMAP;
    attr.userns_fd = static_cast<uint64_t>(attributes.user_namespace_fd);
  }
  attr.attr_clr = attributes.clear;
  attr.propagation = attributes.propagation;
  const unsigned flags = AT_EMPTY_PATH | (attributes.recursive ? AT_RECURSIVE : 0);
  if (mount_setattr(mount_fd, "", flags, &attr, sizeof attr) != 0) return Errno("mount_setattr");
  return Done{};
}

Status AttachMount(int mount_fd, int target_fd) {
  if (move_mount(mount_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) !=
      0) {
    return Errno("move_mount");
  }
  return Done{};
}

uint64_t AttributesOfFlags(uint64_t ms_flags) {
  uint64_t attributes = 0;
  if ((ms_flags & MS_RDONLY) != 0) attributes |= MOUNT_ATTR_RDONLY;
  if ((ms_flags & MS_NOSUID) != 0) attributes |= MOUNT_ATTR_NOSUID;
  if ((ms_flags & MS_NODEV) != 0) attributes |= MOUNT_ATTR_NODEV;
  if ((ms_flags & MS_NOEXEC) != 0) attributes |= MOUNT_ATTR_NOEXEC;
  if ((ms_flags & MS_NODIRATIME) != 0) attributes |= MOUNT_ATTR_NODIRATIME;
  if ((ms_flags & MS_NOATIME) != 0) attributes |= MOUNT_ATTR_NOATIME;
  if ((ms_flags & MS_STRICTATIME) != 0) attributes |= MOUNT_ATTR_STRICTATIME;
  if ((ms_flags & kMsNosymfollow) != 0) attributes |= kMountAttrNosymfollow;
  return attributes;
}

MountAttributes ChangesOfFlags(uint64_t ms_flags) {
  MountAttributes changes = {.set = AttributesOfFlags(ms_flags)};
  if ((ms_flags & (MS_NOATIME | MS_RELATIME | MS_STRICTATIME)) != 0) {
    changes.clear = MOUNT_ATTR__ATIME;
  }
  return changes;
}

}  // namespace cais
