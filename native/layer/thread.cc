#include "layer/thread.h"

#include <csignal>

namespace cais {
namespace {

void* Run(void* argument) {
  const std::unique_ptr<std::function<void()>> run(static_cast<std::function<void()>*>(argument));
  (*run)();
  return nullptr;
}

}  // namespace

Result<Thread> Thread::Start(const char* name, std::function<void()> run) {
  auto argument = std::make_unique<std::function<void()>>(std::move(run));
  // Signals are for Node's main thread: handlers of others must not run here.
  sigset_t all;
  sigset_t before;
  (void)sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &before);
  Thread thread;
  const int error = pthread_create(&thread.thread_, nullptr, Run, argument.get());
  (void)pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return Failure{error, "start the thread", name, {}};
  (void)argument.release();
  thread.running_ = true;
  (void)pthread_setname_np(thread.thread_, name);
  return thread;
}

}  // namespace cais
