#pragma once

#include <cstdint>
#include <string>

#include "kernel/result.h"

namespace cais {

// An IPv4 or IPv6 address as its 4 or 16 bytes, the most significant first, as packets and netlink
// have it.
struct IpAddress {
  uint8_t family = 0;  // AF_INET or AF_INET6
  std::string bytes;
};

// An address with the length of its network's prefix.
struct IpNetwork {
  IpAddress address;
  uint8_t prefix_length = 0;

  // The mask and the first address of the network, as bytes.
  std::string Mask() const;
  std::string Network() const;
};

// `INVALID_ARGUMENT` for anything else; IPv6 without a zone.
Result<IpAddress> ParseIpAddress(const std::string& text);

// `fd00::1/64`, `10.88.0.1/20`; `INVALID_ARGUMENT` otherwise.
Result<IpNetwork> ParseIpNetwork(const std::string& text);

}  // namespace cais
