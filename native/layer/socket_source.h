#pragma once

#include <chrono>
#include <cstddef>

#include "kernel/unique_fd.h"

namespace cais {

// Reads a connected stream socket whose other descriptor somebody else (libuv) keeps and does not
// read meanwhile. Waits for many bytes at a time, since each time that a thread wakes up costs as
// much as the bytes of a packet.
class SocketSource {
 public:
  // Why there are no more bytes.
  enum class End {
    kNone,
    kClosed,   // the other end has closed
    kIdle,     // not a byte came for `idle_timeout`
    kStopped,  // `stop_fd` was readable
    kFailed,   // error()
  };

  // `stop_fd` is borrowed.
  SocketSource(UniqueFd socket, int stop_fd, std::chrono::milliseconds idle_timeout);
  // Leaves the socket as it was.
  ~SocketSource();
  SocketSource(const SocketSource&) = delete;
  SocketSource& operator=(const SocketSource&) = delete;

  // Waits until there are `wanted` bytes or, on a slow way, fewer after a moment, and reads what is
  // there: at most `room`, which is at least `wanted`. 0: see end().
  size_t Read(char* to, size_t wanted, size_t room);

  End end() const { return end_; }
  // errno(3), when end() is kFailed.
  int error() const { return error_; }

 private:
  size_t Stop(End end, int error = 0);
  void WaitFor(size_t bytes);

  const UniqueFd socket_;
  const int stop_fd_;
  const std::chrono::milliseconds idle_timeout_;
  size_t low_water_ = 1;  // of the socket
  End end_ = End::kNone;
  int error_ = 0;
};

}  // namespace cais
