#include "addon/async_task.h"

namespace cais {

AsyncPool::AsyncPool(Napi::Env env) : env_(env) {
  (void)napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "cais"), 0, 1,
                                        nullptr, nullptr, this, &AsyncPool::OnDone, &completions_);
  (void)napi_unref_threadsafe_function(env, completions_);
  // After the creation of the function, so that this hook runs before the function's own.
  (void)napi_add_env_cleanup_hook(
      env, [](void* pool) { static_cast<AsyncPool*>(pool)->Shut(); }, this);
}

AsyncPool::~AsyncPool() { Shut(); }

void AsyncPool::Shut() {
  if (completions_ == nullptr) return;
  std::vector<std::thread> threads;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    queue_.clear();
    threads.swap(threads_);
  }
  wake_.notify_all();
  for (std::thread& thread : threads) thread.join();
  (void)napi_release_threadsafe_function(std::exchange(completions_, nullptr), napi_tsfn_abort);
}

bool AsyncPool::stopping() {
  std::lock_guard lock(mutex_);
  return stopping_;
}

void AsyncPool::Submit(std::function<void()> work, std::function<void(Napi::Env)> done) {
  if (completions_ == nullptr) return;
  if (unfinished_++ == 0) (void)napi_ref_threadsafe_function(env_, completions_);
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::make_unique<Task>(Task{std::move(work), std::move(done)}));
    if (idle_ < queue_.size() && threads_.size() < kMaxThreads) {
      threads_.emplace_back([this] { ThreadMain(); });
    }
  }
  wake_.notify_one();
}

void AsyncPool::ThreadMain() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    --idle_;
    if (stopping_) return;
    std::unique_ptr<Task> task = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    task->work();
    // After a failed call the environment is ending; the task then dies with its promise unsettled.
    if (napi_call_threadsafe_function(completions_, task.get(), napi_tsfn_nonblocking) == napi_ok) {
      (void)task.release();
    }
    lock.lock();
  }
}

void AsyncPool::OnDone(napi_env env, napi_value, void* context, void* data) {
  std::unique_ptr<Task> task(static_cast<Task*>(data));
  auto* pool = static_cast<AsyncPool*>(context);
  // The environment is ending, and no script can be called any more.
  if (env == nullptr || pool->completions_ == nullptr || !CanRunScript(env)) return;
  Napi::HandleScope scope(env);
  task->done(env);
  if (--pool->unfinished_ == 0) (void)napi_unref_threadsafe_function(env, pool->completions_);
}

AddonData& Data(Napi::Env env) { return *env.GetInstanceData<AddonData>(); }

}  // namespace cais
