#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cstdlib>

#include "supervisor/inherited_state.h"
#include "supervisor/init_context.h"

namespace cais {

Status JoinCgroups(InitContext& context) {
  for (const std::string& directory : context.cgroups) {
    struct statfs file_system;
    UniqueFd fd(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!fd || fstatfs(fd.get(), &file_system) != 0) return Errno("open", directory);
    const bool unified = file_system.f_type == CGROUP2_SUPER_MAGIC;
    if (unified && context.in_unified_cgroup) continue;
    // The one thread of this process moves itself: for that alone the kernel does not stop all
    // forks of the machine, which waits for an RCU grace period, often several milliseconds. In the
    // v2 tree (kernels without CLONE_INTO_CGROUP) a thread cannot move alone.
    const char* const file = unified ? "cgroup.procs" : "tasks";
    UniqueFd processes(openat(fd.get(), file, O_WRONLY | O_CLOEXEC));
    if (!processes) return Errno("open", directory + "/" + file);
    if (write(processes.get(), "0", 1) != 1) return Errno("write", directory + "/" + file);
  }
  return Done{};
}

Status BeginSession() {
  // Until execve nobody may look into this copy of the supervisor, with its descriptors of the host
  // (CVE-2016-9962).
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return Errno("prctl PR_SET_DUMPABLE");
  if (setsid() < 0) return Errno("setsid");
  // A keyring of its own; kernels without keyrings, and those that forbid it, have none to leak.
  (void)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);
  return Done{};
}

Status EnterSession(InitContext& context) {
  Status step = BeginSession();
  if (step.ok()) step = ResetSignals();
  if (!step.ok()) return step;
  umask(0);
  if (context.spec.personality != 0 && personality(context.spec.personality) < 0) {
    return Errno("personality");
  }
  return Done{};
}

Status InstallStdio(InitContext& context) {
  StdioFds stdio = context.stdio;
  if (context.terminal_slave) {
    const int slave = context.terminal_slave.get();
    // Made here, by root of the container.
    if (fchown(slave, context.spec.credentials.uid, static_cast<gid_t>(-1)) != 0) {
      return Errno("fchown", "terminal");
    }
    stdio = {slave, slave, slave, true};
  }
  if (context.spec.terminal && ioctl(stdio.in, TIOCSCTTY, 0) != 0) return Errno("TIOCSCTTY");
  const int sources[] = {stdio.in, stdio.out, stdio.err};
  for (int target = 0; target < 3; ++target) {
    if (dup2(sources[target], target) < 0) return Errno("dup2", std::to_string(target));
  }
  return Done{};
}

Status SetLimits(InitContext& context) {
  for (const LaunchRlimit& limit : context.spec.rlimits) {
    const auto value = [](int64_t number) {
      return number < 0 ? RLIM_INFINITY : static_cast<rlim_t>(number);
    };
    const rlimit wanted = {value(limit.soft), value(limit.hard)};
    if (setrlimit(static_cast<__rlimit_resource>(limit.resource), &wanted) != 0) {
      return Errno("setrlimit", std::to_string(limit.resource));
    }
  }
  return Done{};
}

Status SetOomScore(InitContext& context) {
  // Always written, also where nothing is asked: the supervisor protects itself by a lower score.
  const std::string wanted = context.spec.has_oom_score_adj
                                 ? std::to_string(context.spec.oom_score_adj)
                                 : context.sandbox.inherited_oom_score_adj;
  return WriteOomScore(context.sandbox.procfs, wanted);
}

}  // namespace cais
