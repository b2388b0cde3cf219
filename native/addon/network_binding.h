#pragma once

#include <napi.h>

namespace cais {

// Exports of src/native.ts, described there.
Napi::Value ListLinks(const Napi::CallbackInfo& info);
Napi::Value EnsureBridge(const Napi::CallbackInfo& info);
Napi::Value AddPodInterface(const Napi::CallbackInfo& info);
Napi::Value SetLoopbackUp(const Napi::CallbackInfo& info);
Napi::Value RemoveLink(const Napi::CallbackInfo& info);
Napi::Value EnsurePodTable(const Napi::CallbackInfo& info);
Napi::Value RemovePodTable(const Napi::CallbackInfo& info);
Napi::Value AddHostPorts(const Napi::CallbackInfo& info);
Napi::Value RemoveHostPorts(const Napi::CallbackInfo& info);
Napi::Value ForgetUdpFlows(const Napi::CallbackInfo& info);
Napi::Value ConnectInNamespace(const Napi::CallbackInfo& info);

}  // namespace cais
