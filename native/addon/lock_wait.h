#pragma once

#include <napi.h>

#include <string>

#include "kernel/lock.h"

namespace cais {

// Waits for the flock of an open file and resolves with its descriptor. On a timer of Node's loop
// that tries again with growing pauses (2 to 50 ms): a blocking flock(2) would hold one of the
// pool's threads, which the holder of the lock may need before it can give the lock up.
Napi::Promise WaitForLock(Napi::Env env, UniqueFd file, LockMode mode, std::string path);

}  // namespace cais
