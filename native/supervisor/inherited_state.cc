#include "supervisor/inherited_state.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace cais {

Status ResetSignals() {
  // The kernel's own structure, all zero: SIG_DFL. By number, since the C library refuses its two
  // internal signals (32, 33), and posix_spawn, which started us, leaves just these ignored.
  const unsigned long action[8] = {};
  constexpr size_t kSignalSetBytes = 8;
  for (int number = 1; number < NSIG; ++number) {
    // SIGKILL and SIGSTOP cannot be set and are not changed either.
    (void)syscall(SYS_rt_sigaction, number, action, nullptr, kSignalSetBytes);
  }
  sigset_t none;
  sigemptyset(&none);
  if (sigprocmask(SIG_SETMASK, &none, nullptr) != 0) return Errno("sigprocmask");
  return Done{};
}

Status WriteOomScore(const Procfs& procfs, const std::string& wanted) {
  Status written = procfs.Write("self/oom_score_adj", wanted);
  if (written.ok() || written.failure().error != EACCES) return written;
  // Without CAP_SYS_RESOURCE the score only goes up: the lowest that is permitted is taken.
  Result<std::string> current = procfs.Read("self/oom_score_adj");
  if (!current.ok()) return current.failure();
  const int clamped = std::max(atoi(current.value().c_str()), atoi(wanted.c_str()));
  return procfs.Write("self/oom_score_adj", std::to_string(clamped));
}

}  // namespace cais
