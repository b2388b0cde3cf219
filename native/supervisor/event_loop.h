#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "kernel/result.h"
#include "kernel/unique_fd.h"

namespace cais {

// The supervisor's one loop: descriptors (level-triggered) and timers. Callbacks may add and forget
// any of both, also their own.
class EventLoop {
 public:
  static Result<EventLoop> Open();

  // `events`: EPOLL*. The descriptor stays the caller's, who calls Forget before closing it.
  Status Watch(int fd, uint32_t events, std::function<void(uint32_t)> callback);
  void Change(int fd, uint32_t events);
  void Forget(int fd);

  using TimerId = uint64_t;
  TimerId AddTimer(int64_t delay_ms, std::function<void()> callback);
  void CancelTimer(TimerId id);

  // Until Stop.
  Status Run();
  void Stop() { stopped_ = true; }

 private:
  struct Watched {
    uint64_t serial;
    std::function<void(uint32_t)> callback;
  };
  struct Timer {
    TimerId id;
    std::function<void()> callback;
  };

  explicit EventLoop(UniqueFd epoll) : epoll_(std::move(epoll)) {}
  int NextTimeoutMs() const;
  void RunTimers();

  UniqueFd epoll_;
  std::map<int, std::shared_ptr<Watched>> watched_;
  std::multimap<int64_t, Timer> timers_;  // by deadline on the monotonic clock, in ms
  uint64_t next_serial_ = 1;
  bool stopped_ = false;
};

}  // namespace cais
