#include "addon/cgroup_binding.h"

namespace cais {

Napi::Value CgroupLayout(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "cgroupLayout is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value CreateCgroup(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "createCgroup is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value UpdateCgroup(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "updateCgroup is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value KillCgroup(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "killCgroup is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value RemoveCgroup(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "removeCgroup is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value ReadCgroupStats(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "readCgroupStats is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

}  // namespace cais
