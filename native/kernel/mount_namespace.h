#pragma once

#include "kernel/procfs.h"
#include "kernel/result.h"
#include "kernel/unique_fd.h"

namespace cais {

// Where the calling process (one thread) is: its mount namespace, and its root, which in a chroot
// is not the namespace's.
class MountPlace {
 public:
  static Result<MountPlace> Current(const Procfs& procfs);
  // Goes back there; the working directory becomes "/".
  Status Return() const;
  // Goes back to the namespace but to its real root: out of a chroot of the caller's.
  Status ReturnToNamespaceRoot() const;

 private:
  MountPlace(UniqueFd mount_namespace, UniqueFd root)
      : namespace_(std::move(mount_namespace)), root_(std::move(root)) {}
  UniqueFd namespace_;
  UniqueFd root_;
};

// Cuts the propagation of every mount of the caller's namespace: nothing that follows is seen
// elsewhere. The caller's root must be the namespace's.
Status MakeAllMountsPrivate();

// Puts the detached mount `mount_fd` over the caller's root.
Status AttachOverRoot(int mount_fd);

// Makes the mount `root_fd`, attached over the root, the root of the caller's mount namespace and
// lets go of everything that was mounted before. The working directory becomes "/".
Status PivotInto(int root_fd);

}  // namespace cais
