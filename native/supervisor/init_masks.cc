#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "kernel/detached_mount.h"
#include "kernel/rooted_path.h"
#include "supervisor/init_context.h"

namespace cais {

namespace {

// What covers masked files: a null device made in the private tmpfs that no program of the image
// can reach (CVE-2025-31133: the image's or a volume's /dev/null may be anything).
Result<UniqueFd> OpenNullDevice(InitContext& context) {
  const dev_t number = makedev(1, 3);
  if (mknodat(context.scratch.get(), kNullNode, S_IFCHR | 0666, number) != 0 && errno != EEXIST) {
    return Errno("mknod", "the null device of masks");
  }
  Result<UniqueFd> mount = CloneMount(context.scratch.get(), kNullNode, {.follow_links = false});
  if (!mount.ok()) return mount;
  struct stat status;
  if (fstat(mount.value().get(), &status) != 0) return Errno("fstat", "the null device of masks");
  if (!S_ISCHR(status.st_mode) || status.st_rdev != number) {
    return Failure{ENODEV, "check", "the null device of masks", {}};
  }
  return mount;
}

Result<UniqueFd> OpenEmptyDirectory(InitContext& context) {
  constexpr char kName[] = "empty";
  if (mkdirat(context.scratch.get(), kName, 0555) != 0 && errno != EEXIST) {
    return Errno("mkdir", "the empty directory of masks");
  }
  Result<UniqueFd> mount = CloneMount(context.scratch.get(), kName, {.follow_links = false});
  if (!mount.ok()) return mount;
  Status set = SetMountAttributes(
      mount.value().get(),
      {.set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC});
  if (!set.ok()) return set.failure();
  return mount;
}

Status Mask(InitContext& context, const std::string& path) {
  Result<UniqueFd> target = OpenInRoot(context.root.get(), path, O_PATH);
  if (!target.ok()) {
    // What is not there needs no mask.
    const int error = target.failure().error;
    if (error == ENOENT || error == ENOTDIR) return Done{};
    return target.failure();
  }
  struct stat status;
  if (fstat(target.value().get(), &status) != 0) return Errno("fstat", path);
  Result<UniqueFd> cover =
      S_ISDIR(status.st_mode) ? OpenEmptyDirectory(context) : OpenNullDevice(context);
  if (!cover.ok()) return cover.failure();
  return AttachMount(cover.value().get(), target.value().get());
}

Status MakeReadonly(InitContext& context, const std::string& path) {
  Result<UniqueFd> target = OpenInRoot(context.root.get(), path, O_PATH);
  if (!target.ok()) {
    const int error = target.failure().error;
    if (error == ENOENT || error == ENOTDIR) return Done{};
    return target.failure();
  }
  Result<UniqueFd> clone = CloneMount(target.value().get(), "", {.recursive = true});
  if (!clone.ok()) return clone.failure();
  Status set =
      SetMountAttributes(clone.value().get(), {.set = MOUNT_ATTR_RDONLY, .recursive = true});
  if (!set.ok()) return set;
  return AttachMount(clone.value().get(), target.value().get());
}

}  // namespace

Status MaskPaths(InitContext& context) {
  for (const std::string& path : context.spec.readonly_paths) {
    Status made = MakeReadonly(context, path);
    if (!made.ok()) {
      made.failure().path = path;
      return made;
    }
  }
  for (const std::string& path : context.spec.masked_paths) {
    Status masked = Mask(context, path);
    if (!masked.ok()) {
      masked.failure().path = path;
      return masked;
    }
  }
  return Done{};
}

}  // namespace cais
