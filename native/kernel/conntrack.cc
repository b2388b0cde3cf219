#include "kernel/conntrack.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>

#include "kernel/ip_address.h"
#include "kernel/netlink.h"
#include "kernel/rtnetlink.h"

namespace cais {

namespace {

NetlinkMessage FlowMessage(uint16_t operation, uint16_t flags, uint8_t family) {
  nfgenmsg body = {};
  body.nfgen_family = family;
  body.version = NFNETLINK_V0;
  NetlinkMessage message(static_cast<uint16_t>((NFNL_SUBSYS_CTNETLINK << 8) | operation), flags);
  message.Body(body);
  return message;
}

struct Tuple {
  std::string source;
  std::string destination;
  uint8_t protocol = 0;
  uint16_t destination_port = 0;
};

Tuple ParseTuple(const NetlinkAttributes& tuple) {
  Tuple parsed;
  const NetlinkAttributes ip = tuple.Nested(CTA_TUPLE_IP);
  parsed.source = ip.Find(CTA_IP_V4_SRC).value_or(ip.Find(CTA_IP_V6_SRC).value_or(""));
  parsed.destination = ip.Find(CTA_IP_V4_DST).value_or(ip.Find(CTA_IP_V6_DST).value_or(""));
  const NetlinkAttributes protocol = tuple.Nested(CTA_TUPLE_PROTO);
  if (const auto number = protocol.Find(CTA_PROTO_NUM); number && number->size() == 1) {
    parsed.protocol = static_cast<uint8_t>(number->front());
  }
  if (const auto port = protocol.Find(CTA_PROTO_DST_PORT); port && port->size() == 2) {
    uint16_t big_endian = 0;
    memcpy(&big_endian, port->data(), sizeof big_endian);
    parsed.destination_port = ntohs(big_endian);
  }
  return parsed;
}

// Addresses of this machine, as bytes.
Result<std::set<std::string>> LocalAddresses() {
  Result<LinkSocket> links = LinkSocket::Open();
  if (!links.ok()) return links.failure();
  Result<std::vector<NetworkLink>> list = links.value().List();
  if (!list.ok()) return list.failure();
  std::set<std::string> addresses;
  for (const NetworkLink& link : list.value()) {
    for (const std::string& cidr : link.addresses) {
      Result<IpNetwork> network = ParseIpNetwork(cidr);
      if (network.ok()) addresses.insert(network.value().address.bytes);
    }
  }
  return addresses;
}

}  // namespace

Status ForgetUdpFlows(const UdpFlows& flows) {
  std::set<std::string> pods;
  for (const std::string& ip : flows.pod_ips) {
    Result<IpAddress> parsed = ParseIpAddress(ip);
    if (!parsed.ok()) return parsed.failure();
    pods.insert(parsed.value().bytes);
  }
  const std::set<uint16_t> ports(flows.host_ports.begin(), flows.host_ports.end());
  Result<std::set<std::string>> local = LocalAddresses();
  if (!local.ok()) return local.failure();
  Result<NetlinkSocket> socket = NetlinkSocket::Open(NETLINK_NETFILTER);
  // Kernels without netfilter's netlink have none of its rules.
  if (!socket.ok()) return Done{};

  std::vector<NetlinkMessage> removals;
  Status dumped = socket.value().Dump(
      FlowMessage(IPCTNL_MSG_CT_GET, NLM_F_DUMP, AF_UNSPEC), "list connections",
      [&] { removals.clear(); },
      [&](const NetlinkAnswer& answer) {
        const auto body = answer.Body<nfgenmsg>();
        if (!body) return;
        const NetlinkAttributes flow = answer.Attributes<nfgenmsg>();
        const auto original = flow.Find(CTA_TUPLE_ORIG);
        const auto id = flow.Find(CTA_ID);
        if (!original || !id) return;
        const Tuple there = ParseTuple(NetlinkAttributes(*original));
        const Tuple back = ParseTuple(flow.Nested(CTA_TUPLE_REPLY));
        if (there.protocol != IPPROTO_UDP) return;
        const bool to_port =
            ports.count(there.destination_port) > 0 && local.value().count(there.destination) > 0;
        if (!to_port && pods.count(back.source) == 0) return;
        NetlinkMessage removal = FlowMessage(IPCTNL_MSG_CT_DELETE, NLM_F_ACK, body->nfgen_family);
        removal.Bytes(CTA_TUPLE_ORIG | NLA_F_NESTED, *original).Bytes(CTA_ID, *id);
        removals.push_back(removal);
      });
  if (!dumped.ok()) {
    const int error = dumped.failure().error;
    // No such subsystem.
    return error == EINVAL || error == EOPNOTSUPP ? Status(Done{}) : dumped;
  }
  for (const NetlinkMessage& removal : removals) {
    Status removed = socket.value().Request(removal, "forget connection", {});
    if (!removed.ok() && removed.failure().error != ENOENT) return removed;
  }
  return Done{};
}

}  // namespace cais
