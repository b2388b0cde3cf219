#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "kernel/result.h"

namespace cais {

// One run of the static supervisor executable as native/supervisor/PROTOCOL.md, "Start", orders.
struct ProgramStart {
  std::string executable;
  // Its only argument: `sandbox`, `mount-overlay`.
  std::string mode;
  // Bytes on its descriptor 0 (a sealed memory file).
  std::string spec;
  // Becomes its descriptor 4; -1: none. Borrowed.
  int extra_fd = -1;
  int64_t timeout_ms = 0;
  // Asked now and then while waiting; true ends the wait as the deadline does. May be empty.
  std::function<bool()> abandoned;
};

// Starts the program with an empty environment, default signal dispositions, an empty signal mask
// and no descriptor but 0 (spec), 1 and 2 (/dev/null), 3 (answer pipe) and 4; returns what it wrote
// to the answer pipe until every copy of that was closed, and reaps it. At the deadline
// (`TIMED_OUT`) all that it started and that still holds the pipe is killed.
//
// Uses posix_spawn, whose child shares the memory until exec: the cost does not grow with the heap
// of the Node process, and threads do no harm.
Result<std::string> RunProgram(const ProgramStart& start);

}  // namespace cais
