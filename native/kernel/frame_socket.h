#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/result.h"
#include "kernel/unique_fd.h"

namespace cais {

// The frames of native/supervisor/PROTOCOL.md on a non-blocking stream socket:
//   u32 payload length | u16 type | u16 zero | u32 request id | payload   (little-endian)
// with descriptors (SCM_RIGHTS) attached to the first byte of their frame.
constexpr size_t kFrameHeaderBytes = 12;
constexpr size_t kMaxFramePayloadBytes = 4u << 20;
// The kernel's own limit of descriptors a message (SCM_MAX_FD).
constexpr size_t kMaxFrameDescriptors = 253;

struct Frame {
  uint16_t type = 0;
  uint32_t request_id = 0;
  std::string payload;
  std::vector<UniqueFd> fds;
};

// Reads frames. Never asks the kernel for more than the rest of the current frame: a message with
// descriptors starts with the first byte of its frame, so what arrives with a frame's bytes belongs
// to that frame and to no other.
class FrameReader {
 public:
  enum class Progress { kFrame, kWouldBlock, kEnd };
  // kFrame: `frame` is filled. kEnd: the peer closed between two frames. A Failure (`BAD_FRAME`, or
  // an errno) ends the use of the socket.
  Result<Progress> Read(int socket_fd, Frame* frame);

 private:
  Result<Progress> Receive(int socket_fd, char* bytes, size_t length, size_t* received);
  Status ParseHeader();

  char header_[kFrameHeaderBytes] = {};
  size_t header_received_ = 0;
  size_t payload_received_ = 0;
  Frame frame_;
};

// Writes frames, and keeps what the socket does not take at once.
class FrameWriter {
 public:
  // Bytes kept at most; a peer that does not read makes Queue fail (`LIMIT_EXCEEDED`) and not the
  // memory grow.
  static constexpr size_t kMaxQueuedBytes = 32u << 20;

  // Takes copies of the payload and duplicates of the descriptors (borrowed).
  Status Queue(uint16_t type, uint32_t request_id, std::string_view payload,
               const std::vector<int>& fds);
  // Writes until the socket would block or nothing is left. True: nothing is left.
  Result<bool> Flush(int socket_fd);
  bool empty() const { return queue_.empty(); }
  void Clear();

 private:
  struct Pending {
    std::string bytes;
    size_t written = 0;
    std::vector<UniqueFd> fds;
  };

  std::deque<Pending> queue_;
  size_t queued_bytes_ = 0;
};

// Takes one message with its descriptors, if there is one, and drops its bytes.
Result<std::vector<UniqueFd>> ReceiveDescriptors(int socket_fd);

// Connects to the listening unix socket `path`, also where the path is longer than sockaddr_un
// takes (its last component must not be). The socket is non-blocking.
Result<UniqueFd> ConnectUnix(const std::string& path);

}  // namespace cais
