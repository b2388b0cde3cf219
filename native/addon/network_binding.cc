#include "addon/network_binding.h"

namespace cais {

Napi::Value ListLinks(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "listLinks is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value EnsureBridge(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "ensureBridge is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value AddPodInterface(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "addPodInterface is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value SetLoopbackUp(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "setLoopbackUp is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value RemoveLink(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "removeLink is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value EnsureMasquerade(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "ensureMasquerade is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value RemoveMasquerade(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "removeMasquerade is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

}  // namespace cais
