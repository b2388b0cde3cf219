#include "supervisor/event_loop.h"

#include <sys/epoll.h>
#include <time.h>

#include <algorithm>
#include <climits>

namespace cais {

namespace {

int64_t NowMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

// The descriptor and the low half of the serial: a number that is closed and opened again between
// epoll_wait and the callback is not taken for the old one.
uint64_t EventKey(int fd, uint64_t serial) { return (serial << 32) | static_cast<uint32_t>(fd); }

}  // namespace

Result<EventLoop> EventLoop::Open() {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return Errno("epoll_create1");
  return EventLoop(std::move(epoll));
}

Status EventLoop::Watch(int fd, uint32_t events, std::function<void(uint32_t)> callback) {
  const uint64_t serial = next_serial_++;
  epoll_event event = {};
  event.events = events;
  event.data.u64 = EventKey(fd, serial);
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return Errno("epoll_ctl");
  watched_[fd] = std::make_shared<Watched>(Watched{serial, std::move(callback)});
  return Done{};
}

void EventLoop::Change(int fd, uint32_t events) {
  const auto found = watched_.find(fd);
  if (found == watched_.end()) return;
  epoll_event event = {};
  event.events = events;
  event.data.u64 = EventKey(fd, found->second->serial);
  (void)epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::Forget(int fd) {
  if (watched_.erase(fd) == 0) return;
  (void)epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

EventLoop::TimerId EventLoop::AddTimer(int64_t delay_ms, std::function<void()> callback) {
  const TimerId id = next_serial_++;
  timers_.emplace(NowMs() + std::max<int64_t>(delay_ms, 0), Timer{id, std::move(callback)});
  return id;
}

void EventLoop::CancelTimer(TimerId id) {
  std::erase_if(timers_, [id](const auto& timer) { return timer.second.id == id; });
}

int EventLoop::NextTimeoutMs() const {
  if (timers_.empty()) return -1;
  const int64_t left_ms = timers_.begin()->first - NowMs();
  return static_cast<int>(std::clamp<int64_t>(left_ms, 0, INT_MAX));
}

void EventLoop::RunTimers() {
  while (!timers_.empty() && timers_.begin()->first <= NowMs()) {
    const std::function<void()> callback = std::move(timers_.begin()->second.callback);
    timers_.erase(timers_.begin());
    callback();
  }
}

Status EventLoop::Run() {
  while (!stopped_) {
    epoll_event events[32];
    const int count = epoll_wait(epoll_.get(), events, std::size(events), NextTimeoutMs());
    if (count < 0 && errno != EINTR) return Errno("epoll_wait");
    for (int i = 0; i < count && !stopped_; ++i) {
      const int fd = static_cast<int>(events[i].data.u64 & UINT32_MAX);
      const auto found = watched_.find(fd);
      if (found == watched_.end()) continue;
      // Kept for the call: the callback may forget itself.
      const std::shared_ptr<Watched> watched = found->second;
      if (EventKey(fd, watched->serial) == events[i].data.u64) watched->callback(events[i].events);
    }
    RunTimers();
  }
  return Done{};
}

}  // namespace cais
