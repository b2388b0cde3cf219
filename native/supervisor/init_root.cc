#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "kernel/detached_mount.h"
#include "supervisor/init_context.h"

namespace cais {

namespace {

// Also of what is mounted below, as far as those file systems can.
Status MapIds(int mount_fd, int user_namespace_fd, bool recursive) {
  Status mapped = SetMountAttributes(
      mount_fd, {.user_namespace_fd = user_namespace_fd, .recursive = recursive});
  if (!mapped.ok() && mapped.failure().error == EINVAL && recursive) {
    mapped = SetMountAttributes(mount_fd, {.user_namespace_fd = user_namespace_fd});
  }
  if (!mapped.ok() && mapped.failure().error == EINVAL) {
    mapped.failure().step = "map ids: its file system cannot";
  }
  return mapped;
}

constexpr uint64_t kPropagationFlags = MS_PRIVATE | MS_SLAVE | MS_SHARED | MS_UNBINDABLE;

// A bind mount not yet put anywhere, with its flags and propagation.
Result<UniqueFd> OpenBind(const InitContext& context, size_t index) {
  const LaunchMount& mount = context.spec.mounts[index];
  const bool recursive = (mount.flags & MS_REC) != 0;
  UniqueFd clone;
  if (mount.source_index >= 0) {
    const int source = context.fds[static_cast<size_t>(mount.source_index)].get();
    Result<UniqueFd> cloned = CloneMount(source, "", {.recursive = recursive});
    if (cloned.ok()) {
      clone = std::move(cloned.value());
    } else {
      // A detached mount: older kernels do not clone it, and it is used up here.
      clone.Reset(fcntl(source, F_DUPFD_CLOEXEC, 3));
      if (!clone) return Errno("duplicate descriptor", mount.destination);
    }
  } else {
    Result<UniqueFd> cloned = CloneMount(AT_FDCWD, mount.source, {.recursive = recursive});
    if (!cloned.ok()) return cloned.failure();
    clone = std::move(cloned.value());
  }
  if (context.id_map_fds[index] >= 0) {
    Status mapped = MapIds(clone.get(), context.id_map_fds[index], recursive);
    if (!mapped.ok()) return mapped.failure();
  }
  const uint64_t propagation = mount.propagation & kPropagationFlags;
  // What root of the user namespace mounts there would appear on the machine.
  if (propagation == MS_SHARED && context.sandbox.user_namespace) {
    return Failure{EPERM, "refuse to share mounts with a user namespace", mount.source, {}};
  }
  Status propagated = SetMountAttributes(
      clone.get(),
      {.set = 0,
       .propagation = propagation == 0 ? static_cast<uint64_t>(MS_PRIVATE) : propagation,
       .recursive = true});
  if (!propagated.ok()) return propagated.failure();
  Status set = SetMountAttributes(clone.get(), ChangesOfFlags(mount.flags));
  if (set.ok() && mount.recursive_readonly) {
    set = SetMountAttributes(clone.get(), {.set = MOUNT_ATTR_RDONLY, .recursive = true});
  }
  if (!set.ok()) return set.failure();
  return clone;
}

}  // namespace

// The first thing in the new mount namespace: sources are still seen as the engine sees them (also
// in a chroot), and their propagation is still that of the host.
Status OpenMountSources(InitContext& context) {
  context.mount_sources.resize(context.spec.mounts.size());
  bool needs_shared_memory = false;
  for (size_t i = 0; i < context.spec.mounts.size(); ++i) {
    const LaunchMount& mount = context.spec.mounts[i];
    needs_shared_memory = needs_shared_memory || mount.type == "shm";
    if (mount.type == "cgroup" && context.cgroup_sources.empty()) {
      Status opened = OpenCgroupSources(context);
      if (!opened.ok()) return opened;
    }
    // A sysfs shows the network namespace of its maker. Inside a user namespace it could be made
    // only where the machine's is seen whole, and with the host's network not at all.
    const bool is_foreign_sysfs = mount.type == "sysfs" && context.sandbox.user_namespace;
    if (mount.type != "bind" && !is_foreign_sysfs) continue;
    Result<UniqueFd> source =
        is_foreign_sysfs ? MakeFilesystem("sysfs", mount.data, AttributesOfFlags(mount.flags))
                         : OpenBind(context, i);
    if (!source.ok()) {
      source.failure().path = mount.source.empty() ? mount.destination : mount.source;
      return source.failure();
    }
    context.mount_sources[i] = std::move(source.value());
  }
  Result<MountPlace> here = MountPlace::Current(context.sandbox.procfs);
  if (!here.ok()) return here.failure();
  for (size_t i = 0; needs_shared_memory && i < context.spec.mounts.size(); ++i) {
    if (context.spec.mounts[i].type != "shm") continue;
    Result<UniqueFd> memory = context.sandbox.shared_memory.CloneAway();
    if (!memory.ok()) return memory.failure();
    context.mount_sources[i] = std::move(memory.value());
  }
  return here.value().ReturnToNamespaceRoot();
}

Status AttachRoot(InitContext& context) {
  Status step = MakeAllMountsPrivate();
  if (!step.ok()) return step;
  step = AttachOverRoot(context.scratch.get());
  if (!step.ok()) return step;
  const UniqueFd& given = context.fds[static_cast<size_t>(context.spec.root_index)];
  step = AttachOverRoot(given.get());
  if (!step.ok()) return step;
  context.root.Reset(fcntl(given.get(), F_DUPFD_CLOEXEC, 3));
  if (!context.root) return Errno("duplicate the root's descriptor");
  return Done{};
}

Status AttachEmptyRoot(InitContext& context) {
  Result<MountPlace> here = MountPlace::Current(context.sandbox.procfs);
  if (!here.ok()) return here.failure();
  Status step = here.value().ReturnToNamespaceRoot();
  if (!step.ok()) return step;
  step = MakeAllMountsPrivate();
  if (!step.ok()) return step;
  Result<UniqueFd> root =
      MakeFilesystem("tmpfs", "mode=0555,size=4096,nr_inodes=2",
                     MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  if (!root.ok()) return root.failure();
  context.root = std::move(root.value());
  return AttachOverRoot(context.root.get());
}

Status FinishRoot(InitContext& context) {
  if (!context.spec.root_readonly) return Done{};
  return SetMountAttributes(context.root.get(), {.set = MOUNT_ATTR_RDONLY});
}

Status PivotRoot(InitContext& context) {
  context.scratch.Reset();
  return PivotInto(context.root.get());
}

Status JoinTarget(InitContext& context) {
  const bool has_user_namespace = static_cast<bool>(context.sandbox.user_namespace);
  if (setns(context.target_pidfd, CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWUTS |
                                      CLONE_NEWNET | (has_user_namespace ? CLONE_NEWUSER : 0)) !=
      0) {
    return Errno("setns", context.spec.exec_target);
  }
  if (has_user_namespace) {
    Status root = BecomeNamespaceRoot();
    if (!root.ok()) return root;
    // The change of ids may have taken it back.
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return Errno("prctl PR_SET_DUMPABLE");
  }
  context.root.Reset(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!context.root) return Errno("open", "/");
  return Done{};
}

}  // namespace cais
