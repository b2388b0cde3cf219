#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/ip_address.h"
#include "kernel/ipv4.h"
#include "kernel/netlink.h"
#include "kernel/result.h"

namespace cais {

struct NetworkLink {
  std::string name;
  uint32_t index = 0;
  std::string kind;  // `bridge`, `veth`, …; empty for hardware and loopback
  bool up = false;
  std::string mac_address;             // `0a:58:0a:58:00:02`
  std::vector<std::string> addresses;  // `10.88.0.1/20`, IPv6 too
};

struct VethPair {
  std::string host_name;
  uint32_t bridge_index = 0;
  std::string peer_name;
  std::string peer_mac;    // 6 bytes
  int peer_netns_fd = -1;  // borrowed
};

// Links, addresses and routes of one network namespace: that of the thread that opened it.
class LinkSocket {
 public:
  static Result<LinkSocket> Open();

  Result<std::vector<NetworkLink>> List();
  Result<std::optional<NetworkLink>> Find(const std::string& name);
  Status AddBridge(const std::string& name, const std::string& mac);
  // The host end comes up as a port of the bridge, the other end is born inside its namespace.
  Status AddVeth(const VethPair& pair);
  Status SetUp(uint32_t index, const std::string& name);
  Status AddAddress(uint32_t index, const Ipv4Network& address, const std::string& name);
  Status AddDefaultRoute(uint32_t index, uint32_t gateway, const std::string& name);
  // Usable at once: nobody is asked whether the address is in use (no DAD).
  Status AddIpv6Address(uint32_t index, const IpNetwork& address, const std::string& name);
  Status AddDefaultIpv6Route(uint32_t index, const IpAddress& gateway, const std::string& name);
  // Lets what arrives by the link for ::1 through to this machine's own sockets. Less preferred
  // than the route of the loopback link.
  Status AddLoopbackRoute(uint32_t index, const std::string& name);
  // Frames may leave by the port of the bridge at which they came in.
  Status SetHairpin(uint32_t index, const std::string& name);
  // Absent is success.
  Status Remove(const std::string& name);

 private:
  explicit LinkSocket(NetlinkSocket socket) : socket_(std::move(socket)) {}
  NetlinkSocket socket_;
};

// A locally administered hardware address made from an IPv4 address: whoever gets the address next
// has the same one, so that no neighbour table is stale.
std::string MacForAddress(uint32_t address);

// `0a:58:0a:58:00:02` for six bytes, empty for any other number.
std::string MacText(std::string_view bytes);

}  // namespace cais
