#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "kernel/frame_socket.h"
#include "kernel/unique_fd.h"
#include "supervisor/event_loop.h"
#include "supervisor/protocol.h"

namespace cais {

// One client of the control socket.
class Connection {
 public:
  struct Options {
    uint64_t serial = 0;
    std::function<void(Connection&, Frame)> on_frame;
    // The client is gone or sent nonsense. May destroy the connection.
    std::function<void(Connection&)> on_closed;
  };

  // The loop must outlive the connection.
  Connection(EventLoop& loop, UniqueFd socket, Options options);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  Status Start();
  // Queues a frame; descriptors are duplicated. A client that never reads is dropped at 32 MiB.
  void Send(FrameType type, uint32_t request_id, std::string_view payload,
            const std::vector<int>& fds = {});
  // Writes what the socket takes without waiting; for the very end.
  void Flush();
  uint64_t serial() const { return options_.serial; }
  bool is_owner = false;

 private:
  void OnReady(uint32_t events);
  void ReadFrames();
  void UpdateEvents();

  EventLoop& loop_;
  UniqueFd socket_;
  Options options_;
  FrameReader reader_;
  FrameWriter writer_;
  bool broken_ = false;
};

}  // namespace cais
