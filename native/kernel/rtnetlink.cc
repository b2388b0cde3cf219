#include "kernel/rtnetlink.h"

#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

namespace cais {

namespace {

constexpr size_t kMacBytes = 6;
constexpr uint16_t kCreate = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;

std::optional<NetworkLink> ParseLink(const NetlinkAnswer& answer) {
  const auto body = answer.Body<ifinfomsg>();
  if (answer.type != RTM_NEWLINK || !body) return std::nullopt;
  const NetlinkAttributes attributes = answer.Attributes<ifinfomsg>();
  NetworkLink link;
  link.name = attributes.Text(IFLA_IFNAME);
  link.index = static_cast<uint32_t>(body->ifi_index);
  link.kind = attributes.Nested(IFLA_LINKINFO).Text(IFLA_INFO_KIND);
  link.up = (body->ifi_flags & IFF_UP) != 0;
  link.mac_address = MacText(attributes.Find(IFLA_ADDRESS).value_or(std::string_view()));
  return link;
}

// Index of the link and its address as text.
std::optional<std::pair<uint32_t, std::string>> ParseAddress(const NetlinkAnswer& answer) {
  const auto body = answer.Body<ifaddrmsg>();
  if (answer.type != RTM_NEWADDR || !body) return std::nullopt;
  const NetlinkAttributes attributes = answer.Attributes<ifaddrmsg>();
  // IFA_ADDRESS is the far end where there is one, and IFA_LOCAL is missing for IPv6.
  auto address = attributes.Find(IFA_LOCAL);
  if (!address) address = attributes.Find(IFA_ADDRESS);
  const size_t expected = body->ifa_family == AF_INET ? 4 : 16;
  if (!address || address->size() != expected) return std::nullopt;
  char text[INET6_ADDRSTRLEN];
  if (inet_ntop(body->ifa_family, address->data(), text, sizeof text) == nullptr) {
    return std::nullopt;
  }
  return std::make_pair(body->ifa_index,
                        std::string(text) + "/" + std::to_string(body->ifa_prefixlen));
}

ifinfomsg UpLink(uint32_t index = 0) {
  ifinfomsg body = {};
  body.ifi_family = AF_UNSPEC;
  body.ifi_index = static_cast<int>(index);
  body.ifi_flags = IFF_UP;
  body.ifi_change = IFF_UP;
  return body;
}

}  // namespace

std::string MacForAddress(uint32_t address) {
  std::string mac = "\x0a\x58";
  mac.append(Ipv4Bytes(address));
  return mac;
}

std::string MacText(std::string_view bytes) {
  if (bytes.size() != kMacBytes) return {};
  char text[3 * kMacBytes];
  const auto* byte = reinterpret_cast<const uint8_t*>(bytes.data());
  (void)snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", byte[0], byte[1], byte[2],
                 byte[3], byte[4], byte[5]);
  return text;
}

Result<LinkSocket> LinkSocket::Open() {
  Result<NetlinkSocket> socket = NetlinkSocket::Open(NETLINK_ROUTE);
  if (!socket.ok()) return socket.failure();
  return LinkSocket(std::move(socket.value()));
}

Result<std::vector<NetworkLink>> LinkSocket::List() {
  std::vector<NetworkLink> links;
  Status listed = socket_.Dump(
      NetlinkMessage(RTM_GETLINK, NLM_F_DUMP).Body(ifinfomsg{}), "list links",
      [&] { links.clear(); },
      [&](const NetlinkAnswer& answer) {
        if (auto link = ParseLink(answer)) links.push_back(std::move(*link));
      });
  if (!listed.ok()) return listed.failure();
  listed = socket_.Dump(
      NetlinkMessage(RTM_GETADDR, NLM_F_DUMP).Body(ifaddrmsg{}), "list addresses",
      [&] {
        for (NetworkLink& link : links) link.addresses.clear();
      },
      [&](const NetlinkAnswer& answer) {
        const auto address = ParseAddress(answer);
        for (NetworkLink& link : links) {
          if (address && link.index == address->first) link.addresses.push_back(address->second);
        }
      });
  if (!listed.ok()) return listed.failure();
  return links;
}

Result<std::optional<NetworkLink>> LinkSocket::Find(const std::string& name) {
  Result<std::vector<NetworkLink>> links = List();
  if (!links.ok()) return links.failure();
  const auto link = std::find_if(links.value().begin(), links.value().end(),
                                 [&](const NetworkLink& one) { return one.name == name; });
  if (link == links.value().end()) return std::optional<NetworkLink>();
  return std::optional<NetworkLink>(std::move(*link));
}

Status LinkSocket::AddBridge(const std::string& name, const std::string& mac) {
  NetlinkMessage message(RTM_NEWLINK, kCreate);
  message.Body(UpLink())
      .Text(IFLA_IFNAME, name)
      .Bytes(IFLA_ADDRESS, mac)
      .Nested(IFLA_LINKINFO, [](NetlinkMessage& info) { info.Text(IFLA_INFO_KIND, "bridge"); });
  return socket_.Request(message, "create bridge", name);
}

Status LinkSocket::AddVeth(const VethPair& pair) {
  NetlinkMessage message(RTM_NEWLINK, kCreate);
  message.Body(UpLink())
      .Text(IFLA_IFNAME, pair.host_name)
      .Number(IFLA_MASTER, pair.bridge_index)
      .Nested(IFLA_LINKINFO, [&](NetlinkMessage& info) {
        info.Text(IFLA_INFO_KIND, "veth").Nested(IFLA_INFO_DATA, [&](NetlinkMessage& data) {
          data.Nested(VETH_INFO_PEER, [&](NetlinkMessage& peer) {
            peer.Body(ifinfomsg{})
                .Text(IFLA_IFNAME, pair.peer_name)
                .Bytes(IFLA_ADDRESS, pair.peer_mac)
                .Number(IFLA_NET_NS_FD, static_cast<uint32_t>(pair.peer_netns_fd));
          });
        });
      });
  return socket_.Request(message, "create veth pair", pair.host_name);
}

Status LinkSocket::SetUp(uint32_t index, const std::string& name) {
  NetlinkMessage message(RTM_NEWLINK, NLM_F_ACK);
  message.Body(UpLink(index));
  return socket_.Request(message, "bring up link", name);
}

Status LinkSocket::AddAddress(uint32_t index, const Ipv4Network& address, const std::string& name) {
  ifaddrmsg body = {};
  body.ifa_family = AF_INET;
  body.ifa_prefixlen = address.prefix_length;
  body.ifa_scope = RT_SCOPE_UNIVERSE;
  body.ifa_index = index;
  const uint32_t broadcast = address.Broadcast();
  NetlinkMessage message(RTM_NEWADDR, kCreate);
  message.Body(body)
      .Bytes(IFA_LOCAL, Ipv4Bytes(address.address))
      .Bytes(IFA_ADDRESS, Ipv4Bytes(address.address))
      .Bytes(IFA_BROADCAST, Ipv4Bytes(broadcast));
  return socket_.Request(message, "set address of link", name);
}

Status LinkSocket::AddDefaultRoute(uint32_t index, uint32_t gateway, const std::string& name) {
  rtmsg body = {};
  body.rtm_family = AF_INET;
  body.rtm_table = RT_TABLE_MAIN;
  body.rtm_protocol = RTPROT_STATIC;
  body.rtm_scope = RT_SCOPE_UNIVERSE;
  body.rtm_type = RTN_UNICAST;
  NetlinkMessage message(RTM_NEWROUTE, kCreate);
  message.Body(body).Bytes(RTA_GATEWAY, Ipv4Bytes(gateway)).Number(RTA_OIF, index);
  return socket_.Request(message, "add default route by link", name);
}

Status LinkSocket::AddIpv6Address(uint32_t index, const IpNetwork& address,
                                  const std::string& name) {
  ifaddrmsg body = {};
  body.ifa_family = AF_INET6;
  body.ifa_prefixlen = address.prefix_length;
  body.ifa_flags = IFA_F_NODAD;
  body.ifa_scope = RT_SCOPE_UNIVERSE;
  body.ifa_index = index;
  NetlinkMessage message(RTM_NEWADDR, kCreate);
  message.Body(body)
      .Bytes(IFA_LOCAL, address.address.bytes)
      .Bytes(IFA_ADDRESS, address.address.bytes);
  return socket_.Request(message, "set IPv6 address of link", name);
}

Status LinkSocket::AddDefaultIpv6Route(uint32_t index, const IpAddress& gateway,
                                       const std::string& name) {
  rtmsg body = {};
  body.rtm_family = AF_INET6;
  body.rtm_table = RT_TABLE_MAIN;
  body.rtm_protocol = RTPROT_STATIC;
  body.rtm_scope = RT_SCOPE_UNIVERSE;
  body.rtm_type = RTN_UNICAST;
  NetlinkMessage message(RTM_NEWROUTE, kCreate);
  message.Body(body).Bytes(RTA_GATEWAY, gateway.bytes).Number(RTA_OIF, index);
  return socket_.Request(message, "add default IPv6 route by link", name);
}

Status LinkSocket::AddLoopbackRoute(uint32_t index, const std::string& name) {
  constexpr uint32_t kMetric = 1024;
  const in6_addr loopback = IN6ADDR_LOOPBACK_INIT;
  rtmsg body = {};
  body.rtm_family = AF_INET6;
  body.rtm_dst_len = 8 * sizeof loopback;
  body.rtm_table = RT_TABLE_LOCAL;
  body.rtm_protocol = RTPROT_STATIC;
  body.rtm_scope = RT_SCOPE_UNIVERSE;
  body.rtm_type = RTN_LOCAL;
  NetlinkMessage message(RTM_NEWROUTE, kCreate);
  message.Body(body)
      .Bytes(RTA_DST, std::string_view(reinterpret_cast<const char*>(&loopback), sizeof loopback))
      .Number(RTA_PRIORITY, kMetric)
      .Number(RTA_OIF, index);
  return socket_.Request(message, "add route of ::1 by link", name);
}

Status LinkSocket::SetHairpin(uint32_t index, const std::string& name) {
  ifinfomsg body = {};
  body.ifi_family = AF_BRIDGE;
  body.ifi_index = static_cast<int>(index);
  NetlinkMessage message(RTM_SETLINK, NLM_F_ACK);
  message.Body(body).Nested(IFLA_PROTINFO, [](NetlinkMessage& port) {
    port.Bytes(IFLA_BRPORT_MODE, std::string_view("\x01", 1));
  });
  return socket_.Request(message, "set hairpin mode of bridge port", name);
}

Status LinkSocket::Remove(const std::string& name) {
  NetlinkMessage message(RTM_DELLINK, NLM_F_ACK);
  message.Body(ifinfomsg{}).Text(IFLA_IFNAME, name);
  Status removed = socket_.Request(message, "remove link", name);
  if (!removed.ok() && removed.failure().error == ENODEV) return Done{};
  return removed;
}

}  // namespace cais
