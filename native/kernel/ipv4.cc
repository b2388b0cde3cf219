#include "kernel/ipv4.h"

#include <arpa/inet.h>

#include <charconv>

namespace cais {

uint32_t Ipv4Network::Mask() const {
  if (prefix_length == 0) return 0;
  return htonl(~uint32_t{0} << (32 - prefix_length));
}

Result<uint32_t> ParseIpv4Address(const std::string& text) {
  in_addr address = {};
  if (inet_pton(AF_INET, text.c_str(), &address) == 1) return address.s_addr;
  return Refuse("INVALID_ARGUMENT", "\"" + text + "\" is not an IPv4 address");
}

Result<Ipv4Network> ParseIpv4Network(const std::string& text) {
  const size_t slash = text.find('/');
  Ipv4Network network;
  if (slash != std::string::npos) {
    Result<uint32_t> address = ParseIpv4Address(text.substr(0, slash));
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + slash + 1, end, network.prefix_length);
    if (address.ok() && error == std::errc() && stop == end && network.prefix_length <= 32) {
      network.address = address.value();
      return network;
    }
  }
  return Refuse("INVALID_ARGUMENT",
                "\"" + text + "\" is not an IPv4 address with the length of its prefix");
}

}  // namespace cais
