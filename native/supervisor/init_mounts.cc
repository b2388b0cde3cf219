#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "kernel/detached_mount.h"
#include "kernel/rooted_path.h"
#include "supervisor/init_context.h"

namespace cais {

namespace {

// /proc, /sys and /dev of an image must be real directories: a link would put the kernel's file
// systems, or our devices, elsewhere (CVE-2019-19921, CVE-2023-27561, CVE-2026-41579).
bool IsSystemPath(const std::string& path) {
  for (const char* prefix : {"/proc", "/sys", "/dev"}) {
    const std::string_view name(prefix);
    if (path.starts_with(name) && (path.size() == name.size() || path[name.size()] == '/')) {
      return true;
    }
  }
  return false;
}

Result<UniqueFd> OpenTarget(const InitContext& context, const LaunchMount& mount, Entry entry) {
  const Links links = IsSystemPath(mount.destination) ? Links::kRefuse : Links::kFollow;
  Result<UniqueFd> target = EnsureInRoot(context.root.get(), mount.destination, entry, links);
  if (!target.ok() && target.failure().error == ELOOP && links == Links::kRefuse) {
    target.failure().step = "refuse a symbolic link";
  }
  return target;
}

Result<Entry> KindOf(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) return Errno("fstat");
  return S_ISDIR(status.st_mode) ? Entry::kDirectory : Entry::kFile;
}

Status Attach(InitContext& context, const LaunchMount& mount, int mount_fd) {
  Result<Entry> kind = KindOf(mount_fd);
  if (!kind.ok()) return kind.failure();
  Result<UniqueFd> target = OpenTarget(context, mount, kind.value());
  if (!target.ok()) return target.failure();
  Status attached = AttachMount(mount_fd, target.value().get());
  if (!attached.ok()) attached.failure().path = mount.destination;
  return attached;
}

// What the sub path of a detached mount leads to, as a mount of its own. Only what is attached in
// the own namespace can be cloned, so the whole is put below the root first, out of its sight; it
// goes away with the old root.
Result<UniqueFd> OpenPart(InitContext& context, const UniqueFd& whole, size_t index) {
  const LaunchMount& mount = context.spec.mounts[index];
  const std::string name = "mount" + std::to_string(index);
  if (mkdirat(context.scratch.get(), name.c_str(), 0700) != 0) return Errno("mkdir", name);
  const UniqueFd place(
      openat(context.scratch.get(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!place) return Errno("open", name);
  Status attached = AttachMount(whole.get(), place.get());
  if (!attached.ok()) return attached.failure();
  Result<UniqueFd> part = OpenInRoot(whole.get(), mount.sub_path, O_PATH);
  if (!part.ok()) return part;
  struct stat status;
  if (fstat(part.value().get(), &status) != 0) return Errno("fstat", mount.sub_path);
  if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode)) {
    return Failure{EINVAL, "refuse what is no directory or file", mount.sub_path, {}};
  }
  return CloneMount(part.value().get(), "", {});
}

Status MountOne(InitContext& context, size_t index) {
  const LaunchMount& mount = context.spec.mounts[index];
  if (mount.type == "cgroup") return MountCgroups(context, mount);
  const UniqueFd& source = context.mount_sources[index];
  if (source) {
    if (mount.type == "bind" && mount.destination == "/") {
      return Failure{EINVAL, "refuse a mount over the root", mount.destination, {}};
    }
    if (mount.sub_path.empty()) return Attach(context, mount, source.get());
    Result<UniqueFd> part = OpenPart(context, source, index);
    if (!part.ok()) return part.failure();
    return Attach(context, mount, part.value().get());
  }
  for (const char* type : {"proc", "sysfs", "tmpfs", "devpts", "mqueue"}) {
    if (mount.type != type) continue;
    Result<UniqueFd> made = MakeFilesystem(type, mount.data, AttributesOfFlags(mount.flags));
    if (!made.ok()) {
      made.failure().path = mount.destination + " (" + made.failure().path + ")";
      return made.failure();
    }
    return Attach(context, mount, made.value().get());
  }
  return Failure{ENODEV, "unknown type of mount", mount.type, {}};
}

Status WriteAll(int fd, const std::string& content) {
  for (size_t written = 0; written < content.size();) {
    const ssize_t count = write(fd, content.data() + written, content.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Errno("write");
    written += static_cast<size_t>(count);
  }
  return Done{};
}

Status PlaceFile(InitContext& context, size_t index) {
  const LaunchFile& file = context.spec.files[index];
  const std::string name = "file" + std::to_string(index);
  UniqueFd content(openat(context.scratch.get(), name.c_str(),
                          O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, file.mode));
  if (!content) return Errno("create", file.destination);
  Status written = WriteAll(content.get(), file.content);
  if (!written.ok()) return written;
  Result<UniqueFd> mount = CloneMount(context.scratch.get(), name, {.follow_links = false});
  if (!mount.ok()) return mount.failure();
  Status set = SetMountAttributes(
      mount.value().get(), {.set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC});
  if (!set.ok()) return set;
  // An image may have a link here (/etc/resolv.conf often is one): it is followed inside the root.
  Result<UniqueFd> target =
      EnsureInRoot(context.root.get(), file.destination, Entry::kFile, Links::kFollow);
  if (!target.ok()) return target.failure();
  return AttachMount(mount.value().get(), target.value().get());
}

}  // namespace

Status MountAll(InitContext& context) {
  for (size_t i = 0; i < context.spec.mounts.size(); ++i) {
    Status mounted = MountOne(context, i);
    if (!mounted.ok()) return mounted;
  }
  context.mount_sources.clear();
  return Done{};
}

Status PlaceFiles(InitContext& context) {
  for (size_t i = 0; i < context.spec.files.size(); ++i) {
    Status placed = PlaceFile(context, i);
    if (!placed.ok()) {
      placed.failure().path = context.spec.files[i].destination;
      return placed;
    }
  }
  return Done{};
}

}  // namespace cais
