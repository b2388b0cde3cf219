#include "supervisor/pause.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cais {

void RunPause() {
  // Containers of the pod see this process: they must not look into it, or into its root.
  (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  (void)prctl(PR_SET_NAME, "pause", 0, 0, 0);
  sigset_t awaited;
  sigemptyset(&awaited);
  sigaddset(&awaited, SIGCHLD);
  if (sigprocmask(SIG_BLOCK, &awaited, nullptr) != 0) _exit(1);
  for (;;) {
    while (waitpid(-1, nullptr, WNOHANG) > 0) continue;
    (void)sigwaitinfo(&awaited, nullptr);
  }
}

}  // namespace cais
