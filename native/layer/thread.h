#pragma once

#include <pthread.h>

#include <functional>
#include <memory>
#include <utility>

#include "kernel/result.h"

namespace cais {

// A thread that is joined by its destructor. Unlike std::thread, failing to start one (a pids
// limit) is a Failure and not the end of the process.
class Thread {
 public:
  Thread() = default;
  Thread(Thread&& other) noexcept
      : thread_(other.thread_), running_(std::exchange(other.running_, false)) {}
  Thread& operator=(Thread&& other) noexcept {
    if (this != &other) {
      Join();
      thread_ = other.thread_;
      running_ = std::exchange(other.running_, false);
    }
    return *this;
  }
  ~Thread() { Join(); }

  // `name`, at most 15 bytes, is what top(1) shows.
  static Result<Thread> Start(const char* name, std::function<void()> run);

  void Join() {
    if (std::exchange(running_, false)) (void)pthread_join(thread_, nullptr);
  }

 private:
  pthread_t thread_{};
  bool running_ = false;
};

}  // namespace cais
