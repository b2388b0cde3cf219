#pragma once

#include <napi.h>

namespace cais {

// Exports of src/native.ts, described there.
Napi::Function DefineLayerJob(Napi::Env env);
Napi::Value DigestLayerImage(const Napi::CallbackInfo& info);
Napi::Value BuildMendLayer(const Napi::CallbackInfo& info);

}  // namespace cais
