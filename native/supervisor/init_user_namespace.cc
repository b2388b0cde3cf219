#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "kernel/descriptor_message.h"
#include "kernel/detached_mount.h"
#include "kernel/syscalls.h"
#include "supervisor/init_context.h"

namespace cais {

namespace {

constexpr char kGo = 'g';

bool HasUserNamespace(const InitContext& context) {
  return static_cast<bool>(context.sandbox.user_namespace);
}

// A pid namespace belongs to the user namespace of whoever makes it, and its first process is a
// child: so the container goes on in one, a child of the supervisor too, and this process ends. The
// child waits until the supervisor can know of it.
Status GoOnAsFirstProcess(InitContext& context) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Errno("pipe2");
  UniqueFd wait(ends[0]);
  UniqueFd go(ends[1]);
  int pidfd = -1;
  clone_args args = {};
  args.flags = CLONE_NEWPID | CLONE_PARENT | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  const pid_t pid = Clone3(args);
  if (pid < 0) return Errno("clone3", "pid namespace");
  if (pid == 0) {
    go.Reset();
    char byte = 0;
    ssize_t count;
    do {
      count = read(wait.get(), &byte, 1);
    } while (count < 0 && errno == EINTR);
    // Nobody knows of it: its maker was killed.
    if (count != 1) _exit(128 + SIGKILL);
    return Done{};
  }
  const UniqueFd process(pidfd);
  // From now on this is the container's process.
  Status told = SendDescriptor(context.report_fd, kReportChild, process.get(),
                               "send the container's process");
  if (!told.ok()) return told;
  if (write(go.get(), &kGo, 1) != 1) return Errno("write", "the container's process");
  _exit(0);
}

// As many as the process will be allowed; what it is given in the end is set later, without rights.
Status RaiseHardLimits(const InitContext& context) {
  for (const LaunchRlimit& limit : context.spec.rlimits) {
    const auto resource = static_cast<__rlimit_resource>(limit.resource);
    const rlim_t wanted = limit.hard < 0 ? RLIM_INFINITY : static_cast<rlim_t>(limit.hard);
    rlimit current = {};
    if (getrlimit(resource, &current) != 0) return Errno("getrlimit");
    if (wanted <= current.rlim_max) continue;
    current.rlim_max = wanted;
    if (setrlimit(resource, &current) != 0) {
      return Errno("setrlimit", std::to_string(limit.resource));
    }
  }
  return Done{};
}

Status MakeNode(InitContext& context, const char* name, const LaunchDevice& device) {
  const IdMaps& maps = context.sandbox.spec.id_maps;
  const dev_t number = makedev(device.major, device.minor);
  if (mknodat(context.scratch.get(), name, device.type | device.mode, number) != 0) {
    return Errno("mknod", device.path);
  }
  if (fchownat(context.scratch.get(), name, maps.OutsideUid(device.uid),
               maps.OutsideGid(device.gid), AT_SYMLINK_NOFOLLOW) != 0) {
    return Errno("chown", device.path);
  }
  return Done{};
}

}  // namespace

std::string DeviceNodeName(size_t index) { return "device" + std::to_string(index); }

// A pid namespace that is shared exists, and the process was born in it.
bool MakesPidNamespace(const LaunchSpec& spec) {
  return spec.kind == LaunchKind::kPause ||
         (spec.kind == LaunchKind::kContainer && spec.pid_namespace == PidNamespace::kOwn);
}

// Below the root, out of its sight: goes away with the old root, what was bound from it stays.
Status MakeScratch(InitContext& context) {
  const IdMaps& maps = context.sandbox.spec.id_maps;
  const std::string options = "mode=0700,uid=" + std::to_string(maps.OutsideUid(0)) +
                              ",gid=" + std::to_string(maps.OutsideGid(0));
  Result<UniqueFd> scratch =
      MakeFilesystem("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  if (!scratch.ok()) return scratch.failure();
  context.scratch = std::move(scratch.value());
  if (!HasUserNamespace(context)) return Done{};
  // Nobody can make a node inside a user namespace: they are made here and bound there.
  Status made = MakeNode(context, kNullNode, {kNullNode, S_IFCHR, 1, 3, 0666, 0, 0});
  const std::vector<LaunchDevice> devices = DevicesOf(context.spec);
  for (size_t i = 0; made.ok() && i < devices.size(); ++i) {
    made = MakeNode(context, DeviceNodeName(i).c_str(), devices[i]);
  }
  return made;
}

Status OwnStdio(InitContext& context) {
  if (!context.stdio.owned_by_user) return Done{};
  const uid_t owner = context.sandbox.spec.id_maps.OutsideUid(context.spec.credentials.uid);
  for (const int fd : {context.stdio.in, context.stdio.out, context.stdio.err}) {
    struct stat status;
    if (fstat(fd, &status) != 0) return Errno("fstat", std::to_string(fd));
    if (status.st_uid == owner || (!S_ISFIFO(status.st_mode) && isatty(fd) == 0)) continue;
    if (fchown(fd, owner, static_cast<gid_t>(-1)) != 0) {
      return Errno("fchown", std::to_string(fd));
    }
  }
  return Done{};
}

Status EnterUserNamespace(InitContext& context) {
  if (!HasUserNamespace(context)) return Done{};
  Status step = RaiseHardLimits(context);
  if (!step.ok()) return step;
  // An exec enters with the other namespaces of its container.
  if (context.spec.kind == LaunchKind::kExec) return Done{};
  step = BecomeRootOf(context.sandbox.user_namespace.get());
  if (!step.ok()) return step;
  if (unshare(CLONE_NEWNS) != 0) return Errno("unshare", "mnt");
  if (!MakesPidNamespace(context.spec)) return Done{};
  step = GoOnAsFirstProcess(context);
  if (!step.ok()) return step;
  return BeginSession();
}

// After the cgroups are joined, since the namespace's root is where the process is then, and after
// the user namespace, which owns it.
Status EnterCgroupNamespace(InitContext&) {
  if (unshare(CLONE_NEWCGROUP) != 0) return Errno("unshare", "cgroup");
  return Done{};
}

}  // namespace cais
