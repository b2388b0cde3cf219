#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kernel/result.h"

namespace cais {

// An IPv4 address with the length of its network's prefix. The address is in the order of the
// network (most significant byte first), as packets and netlink have it.
struct Ipv4Network {
  uint32_t address = 0;
  uint8_t prefix_length = 0;

  uint32_t Mask() const;
  uint32_t Network() const { return address & Mask(); }
  uint32_t Broadcast() const { return Network() | ~Mask(); }
};

// `10.88.0.1/20`; `INVALID_ARGUMENT` otherwise.
Result<Ipv4Network> ParseIpv4Network(const std::string& text);
Result<uint32_t> ParseIpv4Address(const std::string& text);

// The four bytes, for attributes.
inline std::string_view Ipv4Bytes(const uint32_t& address) {
  return std::string_view(reinterpret_cast<const char*>(&address), sizeof address);
}

}  // namespace cais
