#pragma once

#include <napi.h>

namespace cais {

// Exports of src/native.ts, described there.
Napi::Value CompileSeccomp(const Napi::CallbackInfo& info);
Napi::Value SpawnSupervisor(const Napi::CallbackInfo& info);
Napi::Function DefineChannel(Napi::Env env);
Napi::Value CloseOnExecAll(const Napi::CallbackInfo& info);
Napi::Value OpenFilesLimit(const Napi::CallbackInfo& info);
Napi::Value CreatePipe(const Napi::CallbackInfo& info);
Napi::Value CreateSocketPair(const Napi::CallbackInfo& info);
Napi::Value SendDatagram(const Napi::CallbackInfo& info);

}  // namespace cais
