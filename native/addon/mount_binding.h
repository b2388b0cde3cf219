#pragma once

#include <napi.h>

namespace cais {

// Exports of src/native.ts, described there.
Napi::Value ProbeLayerImage(const Napi::CallbackInfo& info);
Napi::Value MountLayerImage(const Napi::CallbackInfo& info);
Napi::Value MountOverlay(const Napi::CallbackInfo& info);
Napi::Value ReadFileInRoot(const Napi::CallbackInfo& info);
Napi::Value KindInRoot(const Napi::CallbackInfo& info);
Napi::Value RemoveTree(const Napi::CallbackInfo& info);
Napi::Value TreeUsage(const Napi::CallbackInfo& info);
Napi::Value SyncFile(const Napi::CallbackInfo& info);
Napi::Value SyncFilesystem(const Napi::CallbackInfo& info);
Napi::Value LockFile(const Napi::CallbackInfo& info);

}  // namespace cais
