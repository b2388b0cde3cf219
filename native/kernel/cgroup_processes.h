#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kernel/result.h"

namespace cais {

struct ProcessCounts {
  uint64_t processes = 0;
  uint64_t threads = 0;
  uint64_t descriptors = 0;
  uint64_t sockets = 0;                // among the descriptors
  int64_t open_files_soft_limit = -1;  // of the first process; -1: none
};

// Pids in the cgroup directory and those below, the directory's own first. Processes of other pid
// namespaces than ours and its children's have no number and are left out.
Result<std::vector<pid_t>> ListProcesses(const std::string& directory);

// What ends meanwhile is not counted.
Result<ProcessCounts> CountProcesses(const std::string& directory);

// Sets oom_score_adj of every process in the cgroup `path` (as in cgroup.h), of those too that are
// forked meanwhile by one that has not got it yet: looks again, every 100 ms, until all have it.
// Only a fork that takes longer than that may get by. Without CAP_SYS_RESOURCE the kernel lets a
// score only rise above the lowest that was ever set with that privilege: a process keeps its score
// then.
Status SetOomScore(const std::string& path, int score);

}  // namespace cais
