#include "addon/mount_binding.h"

namespace cais {

Napi::Value ProbeLayerImage(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "probeLayerImage is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value MountLayerImage(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "mountLayerImage is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value MountOverlay(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "mountOverlay is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value ReadFileInRoot(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "readFileInRoot is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value RemoveTree(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "removeTree is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value TreeUsage(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "treeUsage is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value SyncFile(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "syncFile is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value SyncFilesystem(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "syncFilesystem is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value LockFile(const Napi::CallbackInfo& info) {
  Napi::Error::New(info.Env(), "lockFile is not built yet").ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

}  // namespace cais
