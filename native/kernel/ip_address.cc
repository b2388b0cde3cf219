#include "kernel/ip_address.h"

#include <arpa/inet.h>

#include <charconv>

namespace cais {

std::string IpNetwork::Mask() const {
  std::string mask(address.bytes.size(), '\0');
  for (size_t bit = 0; bit < prefix_length; ++bit) {
    mask[bit / 8] = static_cast<char>(static_cast<uint8_t>(mask[bit / 8]) | (0x80U >> (bit % 8)));
  }
  return mask;
}

std::string IpNetwork::Network() const {
  std::string network = Mask();
  for (size_t i = 0; i < network.size(); ++i) {
    network[i] = static_cast<char>(network[i] & address.bytes[i]);
  }
  return network;
}

Result<IpAddress> ParseIpAddress(const std::string& text) {
  for (const int family : {AF_INET, AF_INET6}) {
    std::string bytes(family == AF_INET ? sizeof(in_addr) : sizeof(in6_addr), '\0');
    if (inet_pton(family, text.c_str(), bytes.data()) == 1) {
      return IpAddress{static_cast<uint8_t>(family), bytes};
    }
  }
  return Refuse("INVALID_ARGUMENT", "\"" + text + "\" is not an IP address");
}

Result<IpNetwork> ParseIpNetwork(const std::string& text) {
  const size_t slash = text.find('/');
  IpNetwork network;
  if (slash != std::string::npos) {
    Result<IpAddress> address = ParseIpAddress(text.substr(0, slash));
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + slash + 1, end, network.prefix_length);
    if (address.ok() && error == std::errc() && stop == end &&
        network.prefix_length <= address.value().bytes.size() * 8) {
      network.address = address.value();
      return network;
    }
  }
  return Refuse("INVALID_ARGUMENT",
                "\"" + text + "\" is not an IP address with the length of its prefix");
}

}  // namespace cais
