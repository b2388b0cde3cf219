#include "kernel/mount_namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include "kernel/detached_mount.h"
#include "kernel/syscalls.h"

namespace cais {

Result<MountPlace> MountPlace::Current(const Procfs& procfs) {
  Result<UniqueFd> mount_namespace = procfs.OpenNamespace(0, "mnt");
  if (!mount_namespace.ok()) return mount_namespace.failure();
  UniqueFd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return Errno("open", "/");
  return MountPlace(std::move(mount_namespace.value()), std::move(root));
}

Status MountPlace::ReturnToNamespaceRoot() const {
  if (setns(namespace_.get(), CLONE_NEWNS) != 0) return Errno("setns", "mnt");
  return Done{};
}

Status MountPlace::Return() const {
  Status returned = ReturnToNamespaceRoot();
  if (!returned.ok()) return returned;
  if (fchdir(root_.get()) != 0) return Errno("fchdir", "/");
  if (chroot(".") != 0) return Errno("chroot", "/");
  return Done{};
}

Status MakeAllMountsPrivate() {
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return Errno("make mounts private", "/");
  }
  return Done{};
}

Status AttachOverRoot(int mount_fd) {
  UniqueFd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return Errno("open", "/");
  return AttachMount(mount_fd, root.get());
}

namespace {

// Whether nothing lies on the root: ".." of the root goes up into what does.
Result<bool> IsTopOfRoot(int root_fd) {
  struct statx root;
  struct statx top;
  if (statx(root_fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &root) != 0) return Errno("statx");
  if (statx(AT_FDCWD, "/..", 0, STATX_MNT_ID, &top) != 0) return Errno("statx", "/..");
  return root.stx_mnt_id == top.stx_mnt_id;
}

}  // namespace

Status PivotInto(int root_fd) {
  if (fchdir(root_fd) != 0) return Errno("fchdir to the new root");
  // The old root is put on the new one and taken off again: no directory is needed for it.
  if (syscall(SYS_pivot_root, ".", ".") != 0) return Errno("pivot_root");
  // "." climbs to the top-most mount that lies on the new root. When something lay on the old root
  // that is not the old root itself, and one call alone would leave the host's file system behind
  // "/..".
  for (;;) {
    Result<bool> alone = IsTopOfRoot(root_fd);
    if (!alone.ok()) return alone.failure();
    if (alone.value()) break;
    if (umount2(".", MNT_DETACH) != 0) return Errno("detach the old root");
  }
  if (chdir("/") != 0) return Errno("chdir", "/");
  return Done{};
}

}  // namespace cais
