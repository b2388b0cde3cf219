#include "kernel/frame_socket.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>

namespace cais {

namespace {

Failure BadFrame(std::string message) { return Refuse("BAD_FRAME", std::move(message)); }

template <typename T>
void Put(char* bytes, T value) {
  memcpy(bytes, &value, sizeof value);
}

template <typename T>
T Get(const char* bytes) {
  T value;
  memcpy(&value, bytes, sizeof value);
  return value;
}

// Room for the descriptors of one message, aligned as cmsghdr wants it.
union ControlBuffer {
  cmsghdr alignment;
  char bytes[CMSG_SPACE(sizeof(int) * kMaxFrameDescriptors)];
};

// Takes ownership of every descriptor of a received message, so that none leaks whatever follows.
std::vector<UniqueFd> TakeDescriptors(msghdr* message) {
  std::vector<UniqueFd> fds;
  for (cmsghdr* part = CMSG_FIRSTHDR(message); part != nullptr; part = CMSG_NXTHDR(message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      fds.emplace_back(Get<int>(reinterpret_cast<const char*>(CMSG_DATA(part)) + i * sizeof(int)));
    }
  }
  return fds;
}

}  // namespace

Result<FrameReader::Progress> FrameReader::Receive(int socket_fd, char* bytes, size_t length,
                                                   size_t* received) {
  ControlBuffer control;
  iovec piece = {bytes, length};
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  ssize_t count;
  do {
    count = recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (count < 0 && errno == EINTR);
  if (count < 0) {
    if (errno == EAGAIN) return Progress::kWouldBlock;
    return Errno("recvmsg");
  }
  std::vector<UniqueFd> fds = TakeDescriptors(&message);
  if ((message.msg_flags & MSG_CTRUNC) != 0) {
    return BadFrame("Descriptors of a frame were lost: the open-files limit is reached");
  }
  if (!fds.empty()) {
    if (header_received_ != 0) {
      return BadFrame("Descriptors arrived in the middle of a frame");
    }
    frame_.fds = std::move(fds);
  }
  if (count == 0) return Progress::kEnd;
  *received += static_cast<size_t>(count);
  return Progress::kFrame;
}

Status FrameReader::ParseHeader() {
  const uint32_t length = le32toh(Get<uint32_t>(header_));
  if (length > kMaxFramePayloadBytes) {
    return BadFrame("A frame announces " + std::to_string(length) + " bytes, more than " +
                    std::to_string(kMaxFramePayloadBytes));
  }
  if (Get<uint16_t>(header_ + 6) != 0)
    return BadFrame("The reserved bytes of a frame are not zero");
  frame_.type = le16toh(Get<uint16_t>(header_ + 4));
  frame_.request_id = le32toh(Get<uint32_t>(header_ + 8));
  return Done{};
}

Result<FrameReader::Progress> FrameReader::Read(int socket_fd, Frame* frame) {
  while (header_received_ < kFrameHeaderBytes) {
    Result<Progress> progress = Receive(socket_fd, header_ + header_received_,
                                        kFrameHeaderBytes - header_received_, &header_received_);
    if (!progress.ok() || progress.value() == Progress::kWouldBlock) return progress;
    if (progress.value() == Progress::kEnd) {
      if (header_received_ != 0) return BadFrame("The connection ended inside a frame");
      return progress;
    }
    if (header_received_ == kFrameHeaderBytes) {
      Status parsed = ParseHeader();
      if (!parsed.ok()) return parsed.failure();
    }
  }
  const size_t length = le32toh(Get<uint32_t>(header_));
  while (payload_received_ < length) {
    // Memory follows what has really arrived, not what a header announces.
    const size_t room = std::min(length - payload_received_, size_t{256} << 10);
    if (frame_.payload.size() < payload_received_ + room) {
      frame_.payload.resize(payload_received_ + room);
    }
    Result<Progress> progress =
        Receive(socket_fd, frame_.payload.data() + payload_received_, room, &payload_received_);
    if (!progress.ok() || progress.value() == Progress::kWouldBlock) return progress;
    if (progress.value() == Progress::kEnd) return BadFrame("The connection ended inside a frame");
  }
  *frame = std::move(frame_);
  frame_ = Frame{};
  header_received_ = 0;
  payload_received_ = 0;
  return Progress::kFrame;
}

Status FrameWriter::Queue(uint16_t type, uint32_t request_id, std::string_view payload,
                          const std::vector<int>& fds) {
  if (payload.size() > kMaxFramePayloadBytes) {
    return Refuse("LIMIT_EXCEEDED", "A frame of " + std::to_string(payload.size()) +
                                        " bytes is longer than " +
                                        std::to_string(kMaxFramePayloadBytes));
  }
  if (fds.size() > kMaxFrameDescriptors) {
    return Refuse("LIMIT_EXCEEDED", "A frame takes at most " +
                                        std::to_string(kMaxFrameDescriptors) +
                                        " descriptors, received " + std::to_string(fds.size()));
  }
  if (queued_bytes_ + kFrameHeaderBytes + payload.size() > kMaxQueuedBytes) {
    return Refuse("LIMIT_EXCEEDED", "The peer does not read: " + std::to_string(queued_bytes_) +
                                        " bytes are waiting for it");
  }
  Pending pending;
  for (int fd : fds) {
    const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) return Errno("duplicate descriptor", std::to_string(fd));
    pending.fds.emplace_back(copy);
  }
  char header[kFrameHeaderBytes];
  Put<uint32_t>(header, htole32(static_cast<uint32_t>(payload.size())));
  Put<uint16_t>(header + 4, htole16(type));
  Put<uint16_t>(header + 6, 0);
  Put<uint32_t>(header + 8, htole32(request_id));
  pending.bytes.reserve(kFrameHeaderBytes + payload.size());
  pending.bytes.append(header, kFrameHeaderBytes).append(payload);
  queued_bytes_ += pending.bytes.size();
  queue_.push_back(std::move(pending));
  return Done{};
}

Result<bool> FrameWriter::Flush(int socket_fd) {
  while (!queue_.empty()) {
    Pending& pending = queue_.front();
    iovec piece = {pending.bytes.data() + pending.written, pending.bytes.size() - pending.written};
    msghdr message = {};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    ControlBuffer control;
    if (pending.written == 0 && !pending.fds.empty()) {
      message.msg_control = control.bytes;
      message.msg_controllen = CMSG_SPACE(sizeof(int) * pending.fds.size());
      memset(control.bytes, 0, message.msg_controllen);
      cmsghdr* part = CMSG_FIRSTHDR(&message);
      part->cmsg_level = SOL_SOCKET;
      part->cmsg_type = SCM_RIGHTS;
      part->cmsg_len = CMSG_LEN(sizeof(int) * pending.fds.size());
      for (size_t i = 0; i < pending.fds.size(); ++i) {
        Put<int>(reinterpret_cast<char*>(CMSG_DATA(part)) + i * sizeof(int), pending.fds[i].get());
      }
    }
    ssize_t count;
    do {
      count = sendmsg(socket_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
      if (errno == EAGAIN) return false;
      return Errno("sendmsg");
    }
    pending.fds.clear();
    pending.written += static_cast<size_t>(count);
    if (pending.written == pending.bytes.size()) {
      queued_bytes_ -= pending.bytes.size();
      queue_.pop_front();
    }
  }
  return true;
}

void FrameWriter::Clear() {
  queue_.clear();
  queued_bytes_ = 0;
}

Result<std::vector<UniqueFd>> ReceiveDescriptors(int socket_fd) {
  ControlBuffer control;
  char byte;
  iovec piece = {&byte, 1};
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  if (recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0) return Errno("recvmsg");
  return TakeDescriptors(&message);
}

Result<UniqueFd> ConnectUnix(const std::string& path) {
  UniqueFd socket_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket_fd) return Errno("socket");
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  UniqueFd directory;
  std::string short_path = path;
  if (path.size() >= sizeof address.sun_path) {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return Failure{ENAMETOOLONG, "connect", path, {}};
    directory.Reset(open(path.substr(0, slash + 1).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory) return Errno("open", path.substr(0, slash));
    short_path = "/proc/self/fd/" + std::to_string(directory.get()) + path.substr(slash);
    if (short_path.size() >= sizeof address.sun_path) {
      return Failure{ENAMETOOLONG, "connect", path, {}};
    }
  }
  memcpy(address.sun_path, short_path.c_str(), short_path.size() + 1);
  if (connect(socket_fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Errno("connect", path);
  }
  return socket_fd;
}

}  // namespace cais
