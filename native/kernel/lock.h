#pragma once

#include <string>

#include "kernel/result.h"
#include "kernel/unique_fd.h"

namespace cais {

// Opens `path`, which is created (0600) when absent, as the holder of a lock to come.
Result<UniqueFd> OpenLockFile(const std::string& path);

enum class LockMode { kShared, kExclusive };

// Takes the flock of the open file if nobody has it; false: taken. It belongs to the open file
// description and ends with it.
Result<bool> TryLock(int fd, LockMode mode);

}  // namespace cais
