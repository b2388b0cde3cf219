#include "supervisor/launch.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "kernel/syscalls.h"
#include "supervisor/cgroup_directory.h"
#include "supervisor/container_init.h"
#include "supervisor/failure_record.h"
#include "supervisor/launch_stdio.h"

namespace cais {

namespace {

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

bool IsUnified(const std::string& directory) {
  struct statfs file_system;
  return statfs(directory.c_str(), &file_system) == 0 && file_system.f_type == CGROUP2_SUPER_MAGIC;
}

// A cgroup inside the container's for one exec, in the hierarchy by which it is killed; `cgroups`
// names it afterwards instead of the container's. The others keep the container's: that is where
// its limits are counted.
Result<std::string> MakeOwnCgroup(const std::string& id, std::vector<std::string>& cgroups) {
  std::string* parent = nullptr;
  for (std::string& directory : cgroups) {
    const bool freezer = access((directory + "/freezer.state").c_str(), F_OK) == 0;
    if (!IsUnified(directory) && !freezer) continue;
    parent = &directory;
    if (!freezer) break;
  }
  if (parent == nullptr) return Failure{ENOENT, "find a cgroup that can be killed", id, {}};
  *parent += "/" + id;
  if (mkdir(parent->c_str(), 0755) != 0) return Errno("mkdir", *parent);
  return *parent;
}

// Removes the cgroup at the end of a launch that failed.
class CgroupRemoval {
 public:
  explicit CgroupRemoval(std::string directory) : directory_(std::move(directory)) {}
  ~CgroupRemoval() {
    if (!directory_.empty()) (void)rmdir(directory_.c_str());
  }
  CgroupRemoval(const CgroupRemoval&) = delete;
  CgroupRemoval& operator=(const CgroupRemoval&) = delete;
  void Cancel() { directory_.clear(); }

 private:
  std::string directory_;
};

uint64_t CloneFlags(const LaunchRequest& request) {
  // Inside the pod's user namespace, the process makes its namespaces itself.
  if (request.sandbox->user_namespace) return CLONE_PIDFD;
  uint64_t flags = CLONE_PIDFD;
  if (request.spec->kind != LaunchKind::kExec) flags |= CLONE_NEWNS;
  if (MakesPidNamespace(*request.spec)) flags |= CLONE_NEWPID;
  return flags;
}

// The user namespaces whose maps the mounts ask for; those that are not the pod's own are made, and
// kept in `made`.
Status FindIdMaps(const LaunchRequest& request, std::vector<UniqueFd>& made, InitContext& context) {
  const Sandbox& sandbox = *request.sandbox;
  for (const LaunchMount& mount : request.spec->mounts) {
    int fd = -1;
    if (!mount.id_maps.empty() && mount.id_maps == sandbox.spec.id_maps) {
      fd = sandbox.user_namespace.get();
    } else if (!mount.id_maps.empty()) {
      Result<UniqueFd> user_namespace = MakeUserNamespace(sandbox.procfs, mount.id_maps);
      if (!user_namespace.ok()) return user_namespace.failure();
      fd = user_namespace.value().get();
      made.push_back(std::move(user_namespace.value()));
    }
    context.id_map_fds.push_back(fd);
  }
  return Done{};
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
  args.flags = CloneFlags(request);
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
  Status stdio = OpenStdio(spec, request.fds, child, relay);
  if (!stdio.ok()) return stdio.failure();
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
  std::vector<UniqueFd> id_maps;
  Status mapped = FindIdMaps(request, id_maps, context);
  if (!mapped.ok()) return At("mount", mapped.failure());
  if (request.exec_target != nullptr) {
    if (context.cgroups.empty()) context.cgroups = request.exec_target->cgroups;
    context.target_pidfd = request.exec_target->pidfd.get();
  }
  auto container = std::make_unique<Container>();
  container->id = spec.id;
  container->kind = spec.kind;
  // Where its limits are counted, an exec's own cgroup or not.
  container->cgroups = context.cgroups;
  container->own_pid_namespace = MakesPidNamespace(spec);
  container->exec_target = spec.exec_target;
  container->stop_signal = spec.stop_signal;
  container->oom_kills_before = CountOomKills(context.cgroups);
  container->exit.id = spec.id;
  container->forget_on_exit = spec.forget_on_exit;
  if (spec.own_cgroup) {
    Result<std::string> made = MakeOwnCgroup(spec.id, context.cgroups);
    if (!made.ok()) return At("cgroup", made.failure());
    container->own_cgroup = std::move(made.value());
  }
  // On a failure below nothing lives in it.
  CgroupRemoval unused(container->own_cgroup);
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
    unused.Cancel();
    return container;
  }
  SignalContainer(*container, SIGKILL);
  return At("clone", set.ok() ? ticks.failure() : set.failure());
}

}  // namespace cais
