#pragma once

#include <napi.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "addon/napi_errors.h"
#include "kernel/result.h"
#include "layer/workers.h"

namespace cais {

// Threads of ours for work that may block, one pool per Node environment. libuv's four threads are
// never used. Threads are started when none is idle, at most kMaxThreads; more work waits in line.
// The pool is joined by a cleanup hook when the environment ends: a ThreadSafeFunction that is used
// by a finished environment aborts the process, and the pool itself is destroyed later than that.
class AsyncPool {
 public:
  static constexpr size_t kMaxThreads = 32;

  explicit AsyncPool(Napi::Env env);
  ~AsyncPool();

  // Main thread only. `work` runs on a pool thread; `done` afterwards on the main thread. The event
  // loop stays alive meanwhile.
  void Submit(std::function<void()> work, std::function<void(Napi::Env)> done);

  // True once the environment is ending: loops in `work` that wait for something must give up then.
  bool stopping();

 private:
  struct Task {
    std::function<void()> work;
    std::function<void(Napi::Env)> done;
  };

  void ThreadMain();
  // Main thread. Afterwards nothing runs and no promise settles any more.
  void Shut();
  static void OnDone(napi_env env, napi_value callback, void* context, void* data);

  Napi::Env env_;
  napi_threadsafe_function completions_ = nullptr;  // main thread decides; null after Shut
  size_t unfinished_ = 0;                           // main thread only

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Task>> queue_;  // guarded by mutex_
  std::vector<std::thread> threads_;         // guarded by mutex_
  size_t idle_ = 0;                          // guarded by mutex_
  bool stopping_ = false;                    // guarded by mutex_
};

// What one Node environment keeps: reachable by Data(env).
struct AddonData {
  explicit AddonData(Napi::Env env) : pool(env) {}
  Napi::FunctionReference error_class;
  // Of all layer jobs. Before the pool, so that it goes last.
  Workers workers;
  AsyncPool pool;
};

AddonData& Data(Napi::Env env);

// Runs `work` on the pool and returns a promise of `convert(env, value)`; a Failure rejects with a
// NativeError.
template <typename T>
Napi::Promise RunAsync(Napi::Env env, std::function<Result<T>()> work,
                       std::function<Napi::Value(Napi::Env, T&)> convert) {
  auto deferred = std::make_shared<Napi::Promise::Deferred>(Napi::Promise::Deferred::New(env));
  auto outcome = std::make_shared<Result<T>>(Failure{0, {}, "The work did not run", "ABORTED"});
  Napi::Promise promise = deferred->Promise();
  Data(env).pool.Submit([outcome, work = std::move(work)] { *outcome = work(); },
                        [outcome, deferred, convert = std::move(convert)](Napi::Env done_env) {
                          if (outcome->ok()) {
                            deferred->Resolve(convert(done_env, outcome->value()));
                          } else {
                            deferred->Reject(ToError(done_env, outcome->failure()).Value());
                          }
                        });
  return promise;
}

// The same for work without a value.
inline Napi::Promise RunAsync(Napi::Env env, std::function<Status()> work) {
  return RunAsync<Done>(env, std::move(work), [](Napi::Env done_env, Done&) -> Napi::Value {
    return done_env.Undefined();
  });
}

}  // namespace cais
