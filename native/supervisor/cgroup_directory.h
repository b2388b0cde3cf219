#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernel/result.h"

namespace cais {

// What the supervisor itself does with cgroups, given by their absolute directories (one for each
// hierarchy). Creating them and setting limits is the engine's.

// Sends SIGKILL to every process in and below the cgroup. `cgroup.kill` of a v2 tree where there is
// one, also a hybrid one without controllers; else freeze, signal all, thaw.
void KillCgroups(const std::vector<std::string>& directories);

// Processes killed by the kernel for want of memory, in and below; 0 where nothing tells.
int64_t CountOomKills(const std::vector<std::string>& directories);

// Removes the directories and those below them; what still holds a process stays.
void RemoveCgroups(const std::vector<std::string>& directories);

// Moves the caller to the nearest ancestor that takes it, so that `directories` can be removed.
void LeaveCgroups(const std::vector<std::string>& directories);

// Moves the caller into each of them.
Status EnterCgroups(const std::vector<std::string>& directories);

}  // namespace cais
