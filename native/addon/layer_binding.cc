#include "addon/layer_binding.h"

namespace cais {

Napi::Function DefineLayerJob(Napi::Env env) {
  return Napi::Function::New(env, [](const Napi::CallbackInfo& info) {
    Napi::Error::New(info.Env(), "LayerJob is not built yet").ThrowAsJavaScriptException();
  });
}

Napi::Value DigestLayerImage(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "digestLayerImage is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value BuildMendLayer(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "buildMendLayer is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

}  // namespace cais
