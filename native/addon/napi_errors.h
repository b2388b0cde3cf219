#pragma once

#include <napi.h>

#include "kernel/result.h"

namespace cais {

// The NativeError (src/errors.ts) for a failure. Main thread only.
Napi::Error ToError(Napi::Env env, const Failure& failure);

// Throws it; the caller returns an empty value at once (there are no C++ exceptions here).
void Throw(Napi::Env env, const Failure& failure);

// False once the environment is ending (a worker thread that was terminated, say): Node still turns
// the loop then, and a callback that touches a script would abort the process.
bool CanRunScript(Napi::Env env);

// Name of an errno value, for example "ENOENT"; "errno 999" for one unknown to libc.
std::string ErrnoName(int error);

}  // namespace cais
