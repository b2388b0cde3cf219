#include "layer/socket_source.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace cais {
namespace {

using Clock = std::chrono::steady_clock;

// The kernel makes the receive buffer twice as large as what is waited for.
constexpr size_t kMaxLowWaterBytes = 256 << 10;
// On a way that does not bring as much in this time, what is there is taken.
constexpr int kPatienceMs = 20;

}  // namespace

SocketSource::SocketSource(UniqueFd socket, int stop_fd, std::chrono::milliseconds idle_timeout)
    : socket_(std::move(socket)), stop_fd_(stop_fd), idle_timeout_(idle_timeout) {}

SocketSource::~SocketSource() { WaitFor(1); }

size_t SocketSource::Stop(End end, int error) {
  end_ = end;
  error_ = error;
  return 0;
}

// poll(2) does not call the socket readable before so many bytes are there, or the last one is
// (SO_RCVLOWAT, socket(7)). Where it fails it is readable with the first byte.
void SocketSource::WaitFor(size_t bytes) {
  const auto low_water = static_cast<int>(std::min(bytes, kMaxLowWaterBytes));
  if (static_cast<size_t>(low_water) == low_water_) return;
  low_water_ = static_cast<size_t>(low_water);
  (void)::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof(low_water));
}

size_t SocketSource::Read(char* to, size_t wanted, size_t room) {
  if (end_ != End::kNone) return 0;
  WaitFor(wanted);
  const auto waiting_since = Clock::now();
  for (;;) {
    pollfd waits[] = {{socket_.get(), POLLIN, 0}, {stop_fd_, POLLIN, 0}};
    if (::poll(waits, 2, kPatienceMs) < 0 && errno != EINTR) return Stop(End::kFailed, errno);
    if (waits[1].revents != 0) return Stop(End::kStopped);
    // Also when the patience has ended.
    const ssize_t got = ::recv(socket_.get(), to, room, MSG_DONTWAIT);
    if (got > 0) return static_cast<size_t>(got);
    if (got == 0) return Stop(End::kClosed);
    if (errno != EINTR && errno != EAGAIN) return Stop(End::kFailed, errno);
    if (Clock::now() - waiting_since >= idle_timeout_) return Stop(End::kIdle);
  }
}

}  // namespace cais
