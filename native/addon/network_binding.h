#pragma once

#include <napi.h>

namespace cais {

// Exports of src/native.ts, described there.
Napi::Value ListLinks(const Napi::CallbackInfo& info);
Napi::Value EnsureBridge(const Napi::CallbackInfo& info);
Napi::Value AddPodInterface(const Napi::CallbackInfo& info);
Napi::Value SetLoopbackUp(const Napi::CallbackInfo& info);
Napi::Value RemoveLink(const Napi::CallbackInfo& info);
Napi::Value EnsureMasquerade(const Napi::CallbackInfo& info);
Napi::Value RemoveMasquerade(const Napi::CallbackInfo& info);

}  // namespace cais
