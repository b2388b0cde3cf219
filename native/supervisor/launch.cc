#include "supervisor/launch.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/vfs.h>

#include "kernel/syscalls.h"
#include "supervisor/cgroup_directory.h"
#include "supervisor/container_init.h"
#include "supervisor/launch_stdio.h"

namespace cais {

namespace {

Failure At(const char* step, Failure failure) {
  failure.code = step;
  return failure;
}

Status CheckDescriptors(const LaunchSpec& spec, size_t count) {
  bool known = spec.root_index < static_cast<int>(count);
  for (const LaunchMount& mount : spec.mounts) {
    known = known && mount.source_index < static_cast<int>(count);
  }
  if (!known) return Failure{EBADF, "the frame has fewer descriptors than the spec names", {}, {}};
  return Done{};
}

// The v2 directory among the cgroups, or -1.
UniqueFd OpenUnified(const std::vector<std::string>& cgroups) {
  for (const std::string& directory : cgroups) {
    UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct statfs file_system;
    if (fd && fstatfs(fd.get(), &file_system) == 0 && file_system.f_type == CGROUP2_SUPER_MAGIC) {
      return fd;
    }
  }
  return UniqueFd();
}

uint64_t CloneFlags(const LaunchSpec& spec) {
  uint64_t flags = CLONE_PIDFD;
  if (spec.kind != LaunchKind::kExec) flags |= CLONE_NEWNS;
  const bool own_pids =
      spec.kind == LaunchKind::kPause ||
      (spec.kind == LaunchKind::kContainer && spec.pid_namespace == PidNamespace::kOwn);
  if (own_pids) flags |= CLONE_NEWPID;
  return flags;
}

struct Cloned {
  pid_t pid;
  UniqueFd pidfd;
};

Result<Cloned> Clone(const LaunchRequest& request, InitContext& context) {
  const UniqueFd unified = OpenUnified(context.cgroups);
  context.in_unified_cgroup = static_cast<bool>(unified);
  int pidfd = -1;
  clone_args args = {};
  args.flags = CloneFlags(*request.spec);
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  if (unified) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<uint64_t>(unified.get());
  }
  UniqueFd own_pid_namespace;
  if (request.pid_source != nullptr) {
    // Changes only where children are born; undone below.
    Result<UniqueFd> own = request.sandbox->procfs.OpenNamespace(0, "pid");
    if (!own.ok()) return own.failure();
    own_pid_namespace = std::move(own.value());
    if (setns(request.pid_source->pidfd.get(), CLONE_NEWPID) != 0) {
      return Errno("join the pid namespace of", request.pid_source->id);
    }
  }
  const pid_t pid = Clone3(args);
  if (pid == 0) {
    // The child must not hold the supervisor's end of its own report, or it would never see that
    // the supervisor is gone.
    (void)close(context.supervisor_report_fd);
    RunContainerInit(context);
  }
  const int error = errno;
  if (own_pid_namespace && setns(own_pid_namespace.get(), CLONE_NEWPID) != 0) {
    // The next start would land in a foreign namespace.
    abort();
  }
  if (pid < 0) return Failure{error, "clone3", request.spec->id, {}};
  return Cloned{pid, UniqueFd(pidfd)};
}

}  // namespace

Result<std::unique_ptr<Container>> Launch(LaunchRequest request) {
  const LaunchSpec& spec = *request.spec;
  Status checked = CheckDescriptors(spec, request.fds.size());
  if (!checked.ok()) return At("clone", checked.failure());

  StdioRelay::Options relay;
  ChildStdio child;
  Status stdio =
      spec.stdio_fds ? TakeClientStdio(spec, request.fds, child) : MakePipes(spec, child, relay);
  if (!stdio.ok()) return At("session", stdio.failure());
  if (!spec.log_path.empty() && !spec.stdio_fds) {
    auto log = LogWriter::Open({spec.log_directory, spec.log_path, spec.terminal});
    if (!log.ok()) return At("log", log.failure());
    relay.log = std::move(log.value());
  }
  relay.stdin_mode = spec.stdin_mode;
  int report[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, report) != 0) {
    return At("clone", Errno("socketpair"));
  }
  UniqueFd ours(report[0]);
  UniqueFd theirs(report[1]);

  InitContext context(spec, *request.sandbox, request.fds);
  context.report_fd = theirs.get();
  context.supervisor_report_fd = ours.get();
  context.stdio = child.fds;
  context.cgroups = spec.cgroups;
  if (request.exec_target != nullptr) {
    if (context.cgroups.empty()) context.cgroups = request.exec_target->cgroups;
    context.target_pidfd = request.exec_target->pidfd.get();
  }
  auto container = std::make_unique<Container>();
  container->id = spec.id;
  container->kind = spec.kind;
  container->cgroups = context.cgroups;
  container->own_pid_namespace = (CloneFlags(spec) & CLONE_NEWPID) != 0;
  container->exec_target = spec.exec_target;
  container->stop_signal = spec.stop_signal;
  container->oom_kills_before = CountOomKills(context.cgroups);
  container->exit.id = spec.id;
  container->relay = std::make_unique<StdioRelay>(*request.loop, std::move(relay));
  Status started = container->relay->Start();
  if (!started.ok()) return At("clone", started.failure());

  Result<Cloned> cloned = Clone(request, context);
  if (!cloned.ok()) return At("clone", cloned.failure());
  container->pid = cloned.value().pid;
  container->pidfd = std::move(cloned.value().pidfd);
  container->report = std::move(ours);
  Status set = MakeNonBlocking(container->report.get());
  Result<int64_t> ticks = request.sandbox->procfs.StartTicks(container->pid);
  if (set.ok() && ticks.ok()) {
    container->start_ticks = ticks.value();
    return container;
  }
  SignalContainer(*container, SIGKILL);
  return At("clone", set.ok() ? ticks.failure() : set.failure());
}

}  // namespace cais
