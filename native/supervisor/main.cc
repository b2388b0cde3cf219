#include <unistd.h>

#include <cstring>

#include "supervisor/mount_overlay.h"
#include "supervisor/pause.h"
#include "supervisor/sandbox_start.h"
#include "supervisor/sealed_self.h"
#include "supervisor/start_answer.h"

namespace {

constexpr char kUsage[] =
    "cais-supervisor is started by cais itself: see native/supervisor/PROTOCOL.md\n";
constexpr int kUsageExit = 2;

}  // namespace

int main(int argc, char** argv) {
  const char* const program = argc == 2 ? argv[1] : "";
  if (strcmp(program, "pause") == 0) cais::RunPause();
  if (strcmp(program, "mount-overlay") == 0) return cais::RunMountOverlay();
  if (strcmp(program, "sandbox") == 0) {
    cais::Status sealed = cais::SealSelf(argv);
    if (sealed.ok()) return cais::RunSandbox();
    cais::AnswerFailure(sealed.failure());
    return 1;
  }
  (void)!write(STDERR_FILENO, kUsage, sizeof kUsage - 1);
  return kUsageExit;
}
