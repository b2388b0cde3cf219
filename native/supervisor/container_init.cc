#include "supervisor/container_init.h"

#include <sys/socket.h>
#include <unistd.h>

#include <span>

#include "supervisor/failure_record.h"

namespace cais {

namespace {

struct Step {
  const char* name;  // FAILED.step
  Status (*run)(InitContext&);
};

// How a process becomes a container. It starts as a copy of the supervisor in a new mount namespace
// and (unless shared) a new pid namespace; net, ipc and uts are the supervisor's own. For a pod
// with a user namespace it starts in the machine's mount namespace, does what only the machine's
// root can, and makes its mount and pid namespaces when it enters.
constexpr Step kContainerSteps[] = {
    {"cgroup", JoinCgroups},
    {"session", EnterSession},
    {"oom", SetOomScore},
    {"session", OwnStdio},
    {"mount", OpenMountSources},
    {"root", MakeScratch},
    {"user namespace", EnterUserNamespace},
    {"cgroup", EnterCgroupNamespace},
    {"root", AttachRoot},
    {"mount", MountAll},
    {"device", MakeDevices},
    {"mount", PlaceFiles},
    {"session", OpenTerminal},
    {"mask", MaskPaths},
    {"directory", MakeDirectories},
    {"cwd", MakeWorkingDirectory},
    {"root", FinishRoot},
    {"pivot", PivotRoot},
    {"cwd", EnterWorkingDirectory},
    {"rlimit", SetLimits},
    {"session", InstallStdio},
    {"apparmor", ConfineProgram},
    {"user", BecomeUser},
    {"capabilities", FinishPrivileges},
    {"exec", FindProgram},
    {"session", CheckSupervisorLives},
    {"exec", Execute},
};

// How a process enters a running container. It starts in the container's pid namespace.
constexpr Step kExecSteps[] = {
    {"cgroup", JoinCgroups},
    {"session", EnterSession},
    {"oom", SetOomScore},
    {"session", OwnStdio},
    {"user namespace", EnterUserNamespace},
    {"join", JoinTarget},
    {"session", OpenTerminal},
    {"cwd", EnterWorkingDirectory},
    {"rlimit", SetLimits},
    {"session", InstallStdio},
    {"apparmor", ConfineProgram},
    {"user", BecomeUser},
    {"capabilities", FinishPrivileges},
    {"exec", FindProgram},
    {"session", CheckSupervisorLives},
    {"exec", Execute},
};

// Pid 1 of a shared pid namespace: an empty root, no capability, this program again.
constexpr Step kPauseSteps[] = {
    {"cgroup", JoinCgroups},
    {"session", EnterSession},
    {"oom", SetOomScore},
    {"user namespace", EnterUserNamespace},
    {"cgroup", EnterCgroupNamespace},
    {"root", AttachEmptyRoot},
    {"pivot", PivotRoot},
    {"session", InstallStdio},
    {"user", BecomeUser},
    {"capabilities", FinishPrivileges},
    {"session", CheckSupervisorLives},
    {"exec", ExecutePause},
};

std::span<const Step> StepsOf(LaunchKind kind) {
  switch (kind) {
    case LaunchKind::kContainer:
      return kContainerSteps;
    case LaunchKind::kExec:
      return kExecSteps;
    case LaunchKind::kPause:
      return kPauseSteps;
  }
  return {};
}

}  // namespace

void RunContainerInit(InitContext& context) {
  for (const Step& step : StepsOf(context.spec.kind)) {
    Status done = step.run(context);
    if (done.ok()) continue;
    // A step that does the work of two says by the code which of them failed.
    const std::string& code = done.failure().code;
    const std::string record = EncodeFailure(code.empty() ? step.name : code, done.failure());
    (void)send(context.report_fd, record.data(), record.size(), MSG_NOSIGNAL);
    break;
  }
  _exit(127);
}

}  // namespace cais
