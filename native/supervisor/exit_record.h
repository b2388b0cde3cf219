#pragma once

#include <cstdint>
#include <string>

#include "kernel/result.h"

namespace cais {

// How a process ended. Times are nanoseconds since 1970.
struct ExitRecord {
  std::string id;
  int exit_code = 0;  // 128 + signal when killed
  int signal = 0;
  bool oom_killed = false;
  int64_t started_at_nanos = 0;
  int64_t finished_at_nanos = 0;
};

// Writes `<id>.json` into the directory, whole or not at all: who finds the file finds all of it,
// also when the supervisor is killed right then.
Status WriteExitRecord(int directory_fd, const ExitRecord& record);

}  // namespace cais
