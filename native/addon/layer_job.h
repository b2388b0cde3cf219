#pragma once

#include <napi.h>

#include <memory>

#include "addon/napi_args.h"

namespace cais {

// Reads a LayerForm of src/native.ts.
bool IsImageForm(const Arg& form, Args& args);

// The class LayerJob of src/native.ts: a LayerPipeline with promises. What its threads report comes
// to the main thread by a ThreadSafeFunction, which keeps the event loop alive until the job ends.
class LayerJob : public Napi::ObjectWrap<LayerJob> {
 public:
  static Napi::Function Define(Napi::Env env);

  explicit LayerJob(const Napi::CallbackInfo& info);
  // A job that nobody can reach any more is aborted, unless it is finishing.
  ~LayerJob() override;

 private:
  struct State;

  // Whether the job takes bytes from the caller now; raises an Error that names `method`, if not.
  bool TakesInput(Napi::Env env, const char* method) const;
  Napi::Value Write(const Napi::CallbackInfo& info);
  Napi::Value Receive(const Napi::CallbackInfo& info);
  Napi::Value ReceivedBytes(const Napi::CallbackInfo& info);
  Napi::Value ReadFrom(const Napi::CallbackInfo& info);
  Napi::Value Finish(const Napi::CallbackInfo& info);
  Napi::Value Abort(const Napi::CallbackInfo& info);

  std::shared_ptr<State> state_;
};

}  // namespace cais
