#include "supervisor/shared_memory.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#include <string>

#include "kernel/detached_mount.h"

namespace cais {

namespace {

// In a new mount namespace: leaves the tmpfs as its root.
Result<UniqueFd> FillNamespace(const Procfs& procfs, const std::string& options) {
  Result<MountPlace> inside = MountPlace::Current(procfs);
  if (!inside.ok()) return inside.failure();
  Status step = inside.value().ReturnToNamespaceRoot();
  if (!step.ok()) return step.failure();
  step = MakeAllMountsPrivate();
  if (!step.ok()) return step.failure();
  Result<UniqueFd> memory =
      MakeFilesystem("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  if (!memory.ok()) return memory.failure();
  step = AttachOverRoot(memory.value().get());
  if (!step.ok()) return step.failure();
  Status pivoted = PivotInto(memory.value().get());
  // EINVAL: the machine's root is an initramfs, which nothing replaces. The tmpfs then lies over
  // it, and setns leads onto the tmpfs all the same.
  if (!pivoted.ok() && pivoted.failure().error != EINVAL) return pivoted.failure();
  return procfs.OpenNamespace(0, "mnt");
}

}  // namespace

Result<SharedMemory> SharedMemory::Make(const Procfs& procfs, int64_t size_bytes,
                                        const IdMaps& id_maps) {
  const std::string options = "mode=1777,size=" + std::to_string(size_bytes) +
                              ",uid=" + std::to_string(id_maps.OutsideUid(0)) +
                              ",gid=" + std::to_string(id_maps.OutsideGid(0));
  Result<MountPlace> outside = MountPlace::Current(procfs);
  if (!outside.ok()) return outside.failure();
  if (unshare(CLONE_NEWNS) != 0) return Errno("unshare", "mnt");
  Result<UniqueFd> filled = FillNamespace(procfs, options);
  Status returned = outside.value().Return();
  if (!filled.ok()) return filled.failure();
  if (!returned.ok()) return returned.failure();
  return SharedMemory(std::move(filled.value()));
}

Result<UniqueFd> SharedMemory::CloneAway() const {
  if (setns(namespace_.get(), CLONE_NEWNS) != 0) return Errno("setns", "shared memory");
  return CloneMount(AT_FDCWD, "/", {});
}

}  // namespace cais
