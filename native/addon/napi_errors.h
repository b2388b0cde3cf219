#pragma once

#include <napi.h>

#include "kernel/result.h"

namespace cais {

// The NativeError (src/errors.ts) for a failure. Main thread only.
Napi::Error ToError(Napi::Env env, const Failure& failure);

// Throws it; the caller returns an empty value at once (there are no C++ exceptions here).
void Throw(Napi::Env env, const Failure& failure);

// Name of an errno value, for example "ENOENT"; "errno 999" for one unknown to libc.
std::string ErrnoName(int error);

}  // namespace cais
