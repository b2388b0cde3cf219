#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "kernel/program.h"
#include "kernel/result.h"

namespace cais {

struct SpawnedProcess {
  pid_t pid = 0;
  // Field 22 of /proc/PID/stat.
  uint64_t start_ticks = 0;
};

// Starts the supervisor of one sandbox. The program daemonises itself and names the process that
// stays, which is nobody's child. Its failure comes back as step, errno and path.
Result<SpawnedProcess> SpawnSupervisorProcess(ProgramStart start);

// The answer record of PROTOCOL.md: the pid in it, or the Failure that it tells.
Result<pid_t> ParseStartAnswer(const std::string& answer);

// Field 22 of /proc/PID/stat (clock ticks from boot to the start of the process).
Result<uint64_t> ReadStartTicks(pid_t pid);

}  // namespace cais
