#pragma once

#include <napi.h>

namespace cais {

// Exports of src/native.ts, described there.
Napi::Value CgroupLayout(const Napi::CallbackInfo& info);
Napi::Value CreateCgroup(const Napi::CallbackInfo& info);
Napi::Value UpdateCgroup(const Napi::CallbackInfo& info);
Napi::Value KillCgroup(const Napi::CallbackInfo& info);
Napi::Value RemoveCgroup(const Napi::CallbackInfo& info);
Napi::Value ReadCgroupStats(const Napi::CallbackInfo& info);
Napi::Value SetOomScore(const Napi::CallbackInfo& info);

}  // namespace cais
