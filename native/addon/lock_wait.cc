#include "addon/lock_wait.h"

#include <uv.h>

#include <algorithm>
#include <utility>

#include "addon/async_task.h"
#include "addon/napi_errors.h"

namespace cais {

namespace {

constexpr uint64_t kFirstPauseMs = 2;
constexpr uint64_t kLongestPauseMs = 50;

// One waiting caller. Deletes itself when libuv has let go of its timer.
class LockWaiter {
 public:
  LockWaiter(Napi::Env env, UniqueFd file, LockMode mode, std::string path)
      : env_(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        context_(env, "cais.lockFile"),
        file_(std::move(file)),
        mode_(mode),
        path_(std::move(path)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  // False: there is no loop to wait on.
  bool Start() {
    uv_loop_t* loop = nullptr;
    if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return false;
    (void)uv_timer_init(loop, &timer_);
    timer_.data = this;
    (void)napi_add_async_cleanup_hook(
        env_,
        [](napi_async_cleanup_hook_handle, void* data) { static_cast<LockWaiter*>(data)->Close(); },
        this, &hook_);
    Pause();
    return true;
  }

 private:
  void Pause() {
    (void)uv_timer_start(
        &timer_, [](uv_timer_t* timer) { static_cast<LockWaiter*>(timer->data)->Try(); }, pause_ms_,
        0);
    pause_ms_ = std::min(pause_ms_ * 2, kLongestPauseMs);
  }

  void Try() {
    if (!CanRunScript(env_)) return Close();
    Result<bool> taken = TryLock(file_.get(), mode_);
    if (taken.ok() && !taken.value()) return Pause();
    Napi::HandleScope scope(env_);
    Napi::CallbackScope callback(env_, context_);  // runs the promise's reactions at its end
    if (taken.ok()) {
      deferred_.Resolve(Napi::Number::New(env_, file_.Release()));
    } else {
      Failure failure = taken.failure();
      failure.path = path_;
      deferred_.Reject(ToError(env_, failure).Value());
    }
    Close();
  }

  void Close() {
    if (closing_) return;
    closing_ = true;
    uv_close(reinterpret_cast<uv_handle_t*>(&timer_), [](uv_handle_t* handle) {
      auto* waiter = static_cast<LockWaiter*>(handle->data);
      if (waiter->hook_ != nullptr) (void)napi_remove_async_cleanup_hook(waiter->hook_);
      delete waiter;
    });
  }

  Napi::Env env_;
  Napi::Promise::Deferred deferred_;
  Napi::AsyncContext context_;
  UniqueFd file_;
  LockMode mode_;
  std::string path_;
  uv_timer_t timer_ = {};
  uint64_t pause_ms_ = kFirstPauseMs;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  bool closing_ = false;
};

}  // namespace

Napi::Promise WaitForLock(Napi::Env env, UniqueFd file, LockMode mode, std::string path) {
  auto waiter = std::make_unique<LockWaiter>(env, std::move(file), mode, std::move(path));
  Napi::Promise promise = waiter->promise();
  if (waiter->Start()) (void)waiter.release();
  return promise;
}

}  // namespace cais
