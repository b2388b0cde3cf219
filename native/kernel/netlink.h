#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/result.h"
#include "kernel/unique_fd.h"

namespace cais {

// Builds one netlink message: header, a fixed body, attributes (nested ones too). Everything is
// aligned to 4 bytes, and numbers are in the order of the machine unless a name says otherwise.
class NetlinkMessage {
 public:
  NetlinkMessage(uint16_t type, uint16_t flags);

  template <typename T>
  NetlinkMessage& Body(const T& body) {
    Raw(std::string_view(reinterpret_cast<const char*>(&body), sizeof body));
    return *this;
  }
  NetlinkMessage& Bytes(uint16_t type, std::string_view value);
  NetlinkMessage& Text(uint16_t type, const std::string& value);  // with its NUL
  NetlinkMessage& Number(uint16_t type, uint32_t value);
  NetlinkMessage& BigEndian(uint16_t type, uint32_t value);
  // What `fill` adds becomes the value of one attribute.
  NetlinkMessage& Nested(uint16_t type, const std::function<void(NetlinkMessage&)>& fill);

  // The finished message with this sequence number.
  std::string Finish(uint32_t sequence) const;

 private:
  void Raw(std::string_view bytes);
  size_t Begin(uint16_t type);
  void End(size_t start);

  std::string bytes_;
};

// Reads the attributes behind the fixed body of a received message, bounds checked.
class NetlinkAttributes {
 public:
  explicit NetlinkAttributes(std::string_view bytes) : bytes_(bytes) {}
  std::optional<std::string_view> Find(uint16_t type) const;
  // Up to the first NUL; empty when absent.
  std::string Text(uint16_t type) const;
  uint32_t Number(uint16_t type) const;  // 0 when absent
  NetlinkAttributes Nested(uint16_t type) const;

 private:
  std::string_view bytes_;
};

// A received message: the bytes behind its header.
struct NetlinkAnswer {
  uint16_t type = 0;
  std::string_view payload;

  // The fixed body; no value when the message is shorter.
  template <typename T>
  std::optional<T> Body() const {
    if (payload.size() < sizeof(T)) return std::nullopt;
    T body;
    memcpy(&body, payload.data(), sizeof body);
    return body;
  }
  template <typename T>
  NetlinkAttributes Attributes() const {
    constexpr size_t kBodyBytes = (sizeof(T) + 3) & ~size_t{3};
    return NetlinkAttributes(payload.size() < kBodyBytes ? std::string_view()
                                                         : payload.substr(kBodyBytes));
  }
};

// A netlink socket of the network namespace of the thread that opened it, for ever. One caller at a
// time. An answer that does not come within ten seconds is a failure (EAGAIN).
class NetlinkSocket {
 public:
  static Result<NetlinkSocket> Open(int protocol);

  // Sends one request and waits for its acknowledgement. The failure carries the kernel's own words
  // where it has some; `what` names the operation, `path` the object.
  Status Request(const NetlinkMessage& message, const std::string& what, const std::string& path);
  // Sends messages as one and waits until each is acknowledged; the first failure counts.
  Status Batch(const std::vector<NetlinkMessage>& messages, const std::string& what,
               const std::string& path);
  // Sends a request with answers and hands each to `take`; a dump that changed meanwhile is
  // repeated, after `restart`.
  Status Dump(const NetlinkMessage& message, const std::string& what,
              const std::function<void()>& restart,
              const std::function<void(const NetlinkAnswer&)>& take);

 private:
  explicit NetlinkSocket(UniqueFd socket) : socket_(std::move(socket)) {}
  Status Send(const std::string& bytes, const std::string& what, const std::string& path);
  Result<std::string> Receive(const std::string& what, const std::string& path);
  // One pass of Dump; false: it changed meanwhile.
  Result<bool> ReadDump(uint32_t sequence, const std::string& what,
                        const std::function<void(const NetlinkAnswer&)>& take);

  UniqueFd socket_;
  uint32_t sequence_ = 0;
};

}  // namespace cais
