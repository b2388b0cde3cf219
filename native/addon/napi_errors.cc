#include "addon/napi_errors.h"

#include <cstring>

#include "addon/async_task.h"

namespace cais {

std::string ErrnoName(int error) {
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : "errno " + std::to_string(error);
}

Napi::Error ToError(Napi::Env env, const Failure& failure) {
  Napi::Object fields = Napi::Object::New(env);
  std::string message;
  if (failure.error != 0) {
    const std::string name = ErrnoName(failure.error);
    message = "Cannot " + failure.step;
    if (!failure.path.empty()) message += " \"" + failure.path + "\"";
    message += std::string(": ") + strerror(failure.error) + " (" + name + ")";
    fields.Set("errnoCode", name);
    fields.Set("errno", failure.error);
    fields.Set("code", failure.code.empty() ? name : failure.code);
    if (!failure.path.empty()) fields.Set("path", failure.path);
  } else {
    message = failure.path;
    fields.Set("code", failure.code.empty() ? std::string("NATIVE_FAILURE") : failure.code);
  }
  if (!failure.step.empty()) fields.Set("syscall", failure.step);
  fields.Set("message", message);
  Napi::FunctionReference& error_class = Data(env).error_class;
  if (error_class.IsEmpty()) return Napi::Error::New(env, message);
  return Napi::Error(env, error_class.New({fields}));
}

bool CanRunScript(Napi::Env env) {
  Napi::HandleScope scope(env);
  // Any call that may run a script asks first whether it can; this one does nothing else.
  bool has = false;
  return napi_has_property(env, Napi::Object::New(env), Napi::String::New(env, "x"), &has) ==
         napi_ok;
}

void Throw(Napi::Env env, const Failure& failure) {
  ToError(env, failure).ThrowAsJavaScriptException();
}

}  // namespace cais
