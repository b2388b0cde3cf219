#include "addon/process_binding.h"

namespace cais {

Napi::Value CompileSeccomp(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "compileSeccomp is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value SpawnSupervisor(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "spawnSupervisor is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Function DefineChannel(Napi::Env env) {
  return Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
    Napi::Error::New(info.Env(), "Channel is not built yet").ThrowAsJavaScriptException();
  });
}

Napi::Value CloseOnExecAll(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "closeOnExecAll is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value OpenFilesLimit(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "openFilesLimit is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

}  // namespace cais
