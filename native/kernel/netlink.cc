#include "kernel/netlink.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>

namespace cais {

namespace {

constexpr time_t kAnswerTimeoutSeconds = 10;
// The kernel fills at most 32 KiB of one datagram for a dump.
constexpr size_t kReceiveBytes = 64 << 10;
constexpr int kDumpAttempts = 8;

size_t Align(size_t length) { return (length + 3) & ~size_t{3}; }

template <typename T>
T Get(std::string_view bytes) {
  T value = {};
  if (bytes.size() >= sizeof value) memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// Takes the next whole message off the front of a datagram; false at its end.
bool TakeMessage(std::string_view* datagram, nlmsghdr* header, std::string_view* payload) {
  if (datagram->size() < sizeof *header) return false;
  *header = Get<nlmsghdr>(*datagram);
  if (header->nlmsg_len < sizeof *header || header->nlmsg_len > datagram->size()) return false;
  *payload = datagram->substr(sizeof *header, header->nlmsg_len - sizeof *header);
  datagram->remove_prefix(std::min(Align(header->nlmsg_len), datagram->size()));
  return true;
}

// Zero, or the failure that an NLMSG_ERROR message tells.
std::optional<Failure> ErrorOf(const nlmsghdr& header, std::string_view payload,
                               const std::string& what, const std::string& path) {
  const auto error = Get<nlmsgerr>(payload);
  if (error.error == 0) return std::nullopt;
  std::string said;
  if ((header.nlmsg_flags & NLM_F_ACK_TLVS) != 0) {
    // With NETLINK_CAP_ACK only the header of the request comes back, before the attributes.
    size_t offset = sizeof error;
    if ((header.nlmsg_flags & NLM_F_CAPPED) == 0) {
      offset += Align(error.msg.nlmsg_len) - sizeof(nlmsghdr);
    }
    if (offset <= payload.size()) {
      said = NetlinkAttributes(payload.substr(offset)).Text(NLMSGERR_ATTR_MSG);
    }
  }
  return Failure{-error.error, what, said.empty() ? path : path + " (" + said + ")", {}};
}

}  // namespace

NetlinkMessage::NetlinkMessage(uint16_t type, uint16_t flags) {
  nlmsghdr header = {};
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<uint16_t>(flags | NLM_F_REQUEST);
  Body(header);
}

void NetlinkMessage::Raw(std::string_view bytes) {
  bytes_.append(bytes);
  bytes_.resize(Align(bytes_.size()), '\0');
}

size_t NetlinkMessage::Begin(uint16_t type) {
  const size_t start = bytes_.size();
  nlattr head = {};
  head.nla_type = type;
  Body(head);
  return start;
}

void NetlinkMessage::End(size_t start) {
  const auto length = static_cast<uint16_t>(bytes_.size() - start);
  memcpy(bytes_.data() + start, &length, sizeof length);
}

NetlinkMessage& NetlinkMessage::Bytes(uint16_t type, std::string_view value) {
  const size_t start = Begin(type);
  Raw(value);
  const auto length = static_cast<uint16_t>(sizeof(nlattr) + value.size());  // without padding
  memcpy(bytes_.data() + start, &length, sizeof length);
  return *this;
}

NetlinkMessage& NetlinkMessage::Text(uint16_t type, const std::string& value) {
  return Bytes(type, std::string_view(value.c_str(), value.size() + 1));
}

NetlinkMessage& NetlinkMessage::Number(uint16_t type, uint32_t value) {
  return Bytes(type, std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
}

NetlinkMessage& NetlinkMessage::BigEndian(uint16_t type, uint32_t value) {
  return Number(type, htonl(value));
}

NetlinkMessage& NetlinkMessage::Nested(uint16_t type,
                                       const std::function<void(NetlinkMessage&)>& fill) {
  const size_t start = Begin(type | NLA_F_NESTED);
  fill(*this);
  End(start);
  return *this;
}

std::string NetlinkMessage::Finish(uint32_t sequence) const {
  std::string message = bytes_;
  auto header = Get<nlmsghdr>(message);
  header.nlmsg_len = static_cast<uint32_t>(message.size());
  header.nlmsg_seq = sequence;
  memcpy(message.data(), &header, sizeof header);
  return message;
}

std::optional<std::string_view> NetlinkAttributes::Find(uint16_t type) const {
  std::string_view rest = bytes_;
  while (rest.size() >= sizeof(nlattr)) {
    const auto head = Get<nlattr>(rest);
    if (head.nla_len < sizeof head || head.nla_len > rest.size()) break;
    if ((head.nla_type & NLA_TYPE_MASK) == type) {
      return rest.substr(sizeof head, head.nla_len - sizeof head);
    }
    rest.remove_prefix(std::min(Align(head.nla_len), rest.size()));
  }
  return std::nullopt;
}

std::string NetlinkAttributes::Text(uint16_t type) const {
  const std::string_view value = Find(type).value_or(std::string_view());
  return std::string(value.substr(0, value.find('\0')));
}

uint32_t NetlinkAttributes::Number(uint16_t type) const {
  return Get<uint32_t>(Find(type).value_or(std::string_view()));
}

NetlinkAttributes NetlinkAttributes::Nested(uint16_t type) const {
  return NetlinkAttributes(Find(type).value_or(std::string_view()));
}

Result<NetlinkSocket> NetlinkSocket::Open(int protocol) {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!fd) return Errno("open netlink socket");
  const int on = 1;
  // Better messages only: older kernels do without.
  (void)setsockopt(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  (void)setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  const timeval timeout = {kAnswerTimeoutSeconds, 0};
  if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) != 0) {
    return Errno("setsockopt SO_RCVTIMEO");
  }
  return NetlinkSocket(std::move(fd));
}

Status NetlinkSocket::Send(const std::string& bytes, const std::string& what,
                           const std::string& path) {
  sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  if (sendto(socket_.get(), bytes.data(), bytes.size(), 0,
             reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel) < 0) {
    return Errno(what.c_str(), path);
  }
  return Done{};
}

Result<std::string> NetlinkSocket::Receive(const std::string& what, const std::string& path) {
  std::string datagram(kReceiveBytes, '\0');
  for (;;) {
    sockaddr_nl sender = {};
    socklen_t length = sizeof sender;
    const ssize_t count = recvfrom(socket_.get(), datagram.data(), datagram.size(), MSG_TRUNC,
                                   reinterpret_cast<sockaddr*>(&sender), &length);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Errno(what.c_str(), path);
    if (static_cast<size_t>(count) > datagram.size()) return Failure{EMSGSIZE, what, path, {}};
    // Any process may send to the socket; only the kernel has the port id 0.
    if (sender.nl_pid != 0) continue;
    datagram.resize(static_cast<size_t>(count));
    return datagram;
  }
}

Status NetlinkSocket::Request(const NetlinkMessage& message, const std::string& what,
                              const std::string& path) {
  return Batch({message}, what, path);
}

Status NetlinkSocket::Batch(const std::vector<NetlinkMessage>& messages, const std::string& what,
                            const std::string& path) {
  std::string bytes;
  const uint32_t first = sequence_ + 1;
  size_t waiting = 0;
  for (const NetlinkMessage& message : messages) {
    const std::string finished = message.Finish(++sequence_);
    if ((Get<nlmsghdr>(finished).nlmsg_flags & NLM_F_ACK) != 0) ++waiting;
    bytes += finished;
  }
  Status sent = Send(bytes, what, path);
  if (!sent.ok()) return sent;
  while (waiting > 0) {
    Result<std::string> datagram = Receive(what, path);
    if (!datagram.ok()) return datagram.failure();
    std::string_view rest = datagram.value();
    nlmsghdr header;
    std::string_view payload;
    while (TakeMessage(&rest, &header, &payload)) {
      // Left over from an earlier request that timed out.
      if (header.nlmsg_type != NLMSG_ERROR || header.nlmsg_seq < first) continue;
      if (std::optional<Failure> failure = ErrorOf(header, payload, what, path)) return *failure;
      --waiting;
    }
  }
  return Done{};
}

Status NetlinkSocket::Dump(const NetlinkMessage& message, const std::string& what,
                           const std::function<void()>& restart,
                           const std::function<void(const NetlinkAnswer&)>& take) {
  for (int attempt = 0; attempt < kDumpAttempts; ++attempt) {
    restart();
    Status sent = Send(message.Finish(++sequence_), what, {});
    if (!sent.ok()) return sent;
    Result<bool> whole = ReadDump(sequence_, what, take);
    if (!whole.ok()) return whole.failure();
    if (whole.value()) return Done{};
  }
  return Failure{EAGAIN, what, {}, {}};
}

Result<bool> NetlinkSocket::ReadDump(uint32_t sequence, const std::string& what,
                                     const std::function<void(const NetlinkAnswer&)>& take) {
  bool whole = true;
  for (;;) {
    Result<std::string> datagram = Receive(what, {});
    if (!datagram.ok()) return datagram.failure();
    std::string_view rest = datagram.value();
    nlmsghdr header;
    std::string_view payload;
    while (TakeMessage(&rest, &header, &payload)) {
      if (header.nlmsg_seq != sequence) continue;
      if ((header.nlmsg_flags & NLM_F_DUMP_INTR) != 0) whole = false;
      if (header.nlmsg_type == NLMSG_DONE) return whole;
      if (header.nlmsg_type == NLMSG_ERROR) {
        if (std::optional<Failure> failure = ErrorOf(header, payload, what, {})) return *failure;
        return whole;
      }
      take(NetlinkAnswer{header.nlmsg_type, payload});
    }
  }
}

}  // namespace cais
