#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>

#include "kernel/result.h"

namespace cais {

struct SpawnOptions {
  std::string executable;
  // Bytes on the program's descriptor 0 (a sealed memory file).
  std::string spec;
  int64_t timeout_ms = 0;
  // Asked now and then while waiting; true ends the wait as the deadline does. May be empty.
  std::function<bool()> abandoned;
};

struct SpawnedProcess {
  pid_t pid = 0;
  // Field 22 of /proc/PID/stat.
  uint64_t start_ticks = 0;
};

// Starts `executable sandbox` as native/supervisor/PROTOCOL.md, "Start", orders: empty environment,
// default signal dispositions and an empty mask, descriptor 0 the spec, 1 and 2 /dev/null, 3 the
// answer pipe, nothing else. The program daemonises itself and names the process that stays; the
// intermediate one is waited for, so no zombie is left. Its failure comes back as step, errno,
// path. At the deadline (`TIMED_OUT`) everything that was started is killed and reaped.
//
// Uses posix_spawn, whose child shares the memory until exec: the cost does not grow with the heap.
Result<SpawnedProcess> SpawnSupervisorProcess(const SpawnOptions& options);

// Field 22 of /proc/PID/stat (clock ticks from boot to the start of the process).
Result<uint64_t> ReadStartTicks(pid_t pid);

}  // namespace cais
