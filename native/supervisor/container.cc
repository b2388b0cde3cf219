#include "supervisor/container.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervisor/cgroup_directory.h"

namespace cais {

void SignalContainer(const Container& container, int signal) {
  if (container.reaped) return;
  (void)syscall(SYS_pidfd_send_signal, container.pidfd.get(), signal, nullptr, 0);
  if (signal != SIGKILL) return;
  // An exec leads a session and process group of its own; descendants that left these are reached
  // only where it has a cgroup of its own.
  if (container.kind == LaunchKind::kExec) {
    // 0 while an OCI runtime still makes it: that would be the supervisor's own group.
    if (container.pid > 0) (void)kill(-container.pid, SIGKILL);
    if (!container.own_cgroup.empty()) KillCgroups({container.own_cgroup});
  } else {
    KillCgroups(container.cgroups);
  }
}

}  // namespace cais
