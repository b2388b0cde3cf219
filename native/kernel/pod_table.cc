#include "kernel/pod_table.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <cerrno>
#include <cstring>

#include "kernel/control_file.h"
#include "kernel/ip_address.h"
#include "kernel/nftables.h"
#include "kernel/rtnetlink.h"

namespace cais {

namespace {

constexpr const char* kGuard = "guard";
constexpr const char* kPorts = "ports";
constexpr const char* kPrerouting = "prerouting";
constexpr const char* kOutput = "output";
constexpr const char* kPostrouting = "postrouting";
constexpr const char* kChains[] = {kGuard, kPorts, kPrerouting, kOutput, kPostrouting};

constexpr int32_t kRaw = -300;             // NF_IP_PRI_RAW
constexpr int32_t kDestinationNat = -100;  // NF_IP_PRI_NAT_DST
constexpr int32_t kSourceNat = 100;        // NF_IP_PRI_NAT_SRC

constexpr const char* kBridgeFilterPath = "/proc/sys/net/bridge/bridge-nf-call-ip6tables";

// nft's numbers of types; those of a concatenation are written one behind the other, 6 bits each.
constexpr uint32_t kIpv4Type = 7;
constexpr uint32_t kIpv6Type = 8;
constexpr uint32_t kProtocolType = 12;
constexpr uint32_t kPortType = 13;
constexpr uint32_t kRegisterBytes = 4;

// What differs between the families. Every part of a key fills whole registers of 4 bytes.
struct Family {
  uint8_t number;
  uint32_t address_type;
  uint32_t address_bytes;
  uint32_t source_offset;  // in the header
  uint32_t destination_offset;
  uint32_t behind_address;  // the register behind an address in register 1
  uint32_t behind_protocol;
  const char* ports;
  const char* bound_ports;
};
constexpr Family kIpv4 = {NFPROTO_IPV4, kIpv4Type,     4, 12, 16, NFT_REG32_01, NFT_REG32_02,
                          "ports4",     "bound_ports4"};
constexpr Family kIpv6 = {NFPROTO_IPV6, kIpv6Type,     16, 8, 24, NFT_REG32_04, NFT_REG32_05,
                          "ports6",     "bound_ports6"};

NftMap PortsMap(const Family& family, bool bound) {
  constexpr uint32_t kPort = (kProtocolType << 6) | kPortType;
  NftMap map = {};
  map.name = bound ? family.bound_ports : family.ports;
  map.key_type = bound ? (family.address_type << 12) | kPort : kPort;
  map.key_bytes = 2 * kRegisterBytes + (bound ? family.address_bytes : 0);
  map.data_type = (family.address_type << 6) | kPortType;
  map.data_bytes = family.address_bytes + kRegisterBytes;
  return map;
}

std::string LinkName(const std::string& name) {
  std::string padded = name;
  padded.resize(IFNAMSIZ, '\0');
  return padded;
}

template <typename T>
std::string NumberBytes(T number) {
  return std::string(reinterpret_cast<const char*>(&number), sizeof number);
}

// Families come together in an inet table, so the first check says which header follows.
NftRule& OfFamily(NftRule& rule, const Family& family) {
  return rule.Meta(NFT_META_NFPROTO, NFT_REG_1).Equal(NumberBytes(family.number));
}

NftRule& From(NftRule& rule, const Family& family, const IpNetwork& network) {
  return OfFamily(rule, family)
      .Payload({NFT_PAYLOAD_NETWORK_HEADER, family.source_offset, family.address_bytes}, NFT_REG_1)
      .Mask(network.Mask())
      .Equal(network.Network());
}

NftRule& LeavingBy(NftRule& rule, const std::string& bridge) {
  return rule.Meta(NFT_META_OIFNAME, NFT_REG_1).Equal(LinkName(bridge));
}

void PortRules(NftTransaction& changes, const Family& family) {
  constexpr NftRule::Field kDestinationPort = {NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2};
  changes.Rule(kPorts, [&](NftRule& rule) {
    OfFamily(rule, family)
        .Payload({NFT_PAYLOAD_NETWORK_HEADER, family.destination_offset, family.address_bytes},
                 NFT_REG_1)
        .Meta(NFT_META_L4PROTO, family.behind_address)
        .Payload(kDestinationPort, family.behind_protocol)
        .Lookup(family.bound_ports)
        .DestinationNat(family.number, family.behind_address);
  });
  changes.Rule(kPorts, [&](NftRule& rule) {
    OfFamily(rule, family)
        .Meta(NFT_META_L4PROTO, NFT_REG_1)
        .Payload(kDestinationPort, NFT_REG32_01)
        .Lookup(family.ports)
        .DestinationNat(family.number, family.behind_address);
  });
}

void PostroutingRules(NftTransaction& changes, const Family& family, const std::string& bridge,
                      const IpNetwork& subnet) {
  const IpNetwork loopback =
      ParseIpNetwork(family.number == NFPROTO_IPV4 ? "127.0.0.0/8" : "::1/128").value();
  changes.Rule(kPostrouting, [&](NftRule& rule) {
    // Ports at random: two connections that pick one at the same moment would else lose a packet.
    From(rule, family, subnet)
        .Meta(NFT_META_OIFNAME, NFT_REG_1)
        .NotEqual(LinkName(bridge))
        .Masquerade(NF_NAT_RANGE_PROTO_RANDOM_FULLY);
  });
  changes.Rule(kPostrouting, [&](NftRule& rule) {
    LeavingBy(From(rule, family, loopback), bridge).Masquerade(0);
  });
  changes.Rule(kPostrouting, [&](NftRule& rule) {
    LeavingBy(From(rule, family, subnet), bridge)
        .ConnectionStatus()
        .Mask(NumberBytes<uint32_t>(IPS_DST_NAT))
        .NotEqual(NumberBytes<uint32_t>(0))
        .Masquerade(0);
  });
}

void GuardRule(NftRule& rule, const std::string& bridge) {
  const IpNetwork loopback = ParseIpNetwork("127.0.0.0/8").value();
  rule.Meta(NFT_META_IIFNAME, NFT_REG_1).Equal(LinkName(bridge));
  OfFamily(rule, kIpv4)
      .Payload({NFT_PAYLOAD_NETWORK_HEADER, kIpv4.destination_offset, kIpv4.address_bytes},
               NFT_REG_1)
      .Mask(loopback.Mask())
      .Equal(loopback.Network())
      .Drop();
}

// Whether ::1 can work, and the route without which it does not.
Result<bool> PrepareIpv6Loopback(const std::string& bridge) {
  if (ControlExists(kBridgeFilterPath)) {
    Result<std::string> called = ReadControl(kBridgeFilterPath);
    if (!called.ok()) return called.failure();
    if (called.value() != "0") return false;
  }
  Result<LinkSocket> links = LinkSocket::Open();
  if (!links.ok()) return links.failure();
  Result<std::optional<NetworkLink>> link = links.value().Find(bridge);
  if (!link.ok()) return link.failure();
  if (!link.value()) return Failure{ENODEV, "find link", bridge, {}};
  Status added = links.value().AddLoopbackRoute(link.value()->index, bridge);
  if (!added.ok() && added.failure().error != EEXIST) return added.failure();
  return true;
}

struct Element {
  const char* map;
  std::string key;
  std::string data;
};

std::string PortBytes(uint16_t port) {
  return NumberBytes<uint16_t>(htons(port)) + std::string(kRegisterBytes - sizeof port, '\0');
}

Result<Element> ElementOf(const HostPort& port) {
  Result<IpAddress> pod = ParseIpAddress(port.pod_ip);
  if (!pod.ok()) return pod.failure();
  const Family& family = pod.value().family == AF_INET ? kIpv4 : kIpv6;
  Element element;
  element.map = port.host_ip.empty() ? family.ports : family.bound_ports;
  if (!port.host_ip.empty()) {
    Result<IpAddress> host = ParseIpAddress(port.host_ip);
    if (!host.ok()) return host.failure();
    if (host.value().family != pod.value().family) {
      return Refuse("INVALID_ARGUMENT",
                    port.host_ip + " and " + port.pod_ip + " are not of one family");
    }
    element.key = host.value().bytes;
  }
  element.key += std::string(1, static_cast<char>(port.protocol)) +
                 std::string(kRegisterBytes - 1, '\0') + PortBytes(port.host_port);
  element.data = pod.value().bytes + PortBytes(port.pod_port);
  return element;
}

}  // namespace

Result<PodTableState> EnsurePodTable(const PodTable& options) {
  const auto& [table, bridge, subnet_cidr, subnet6_cidr] = options;
  Status checked = CheckNftTableName(table);
  if (!checked.ok()) return checked.failure();
  if (bridge.empty() || bridge.size() >= IFNAMSIZ || bridge.find('/') != std::string::npos) {
    return Refuse("INVALID_ARGUMENT", "\"" + bridge + "\" is not a name for a network link");
  }
  Result<IpNetwork> subnet = ParseIpNetwork(subnet_cidr);
  if (!subnet.ok()) return subnet.failure();
  Result<bool> existed = NftTableExists(table);
  if (!existed.ok()) return existed.failure();

  PodTableState state;
  state.created = !existed.value();
  if (!subnet6_cidr.empty()) {
    Result<bool> loopback = PrepareIpv6Loopback(bridge);
    if (!loopback.ok()) return loopback.failure();
    state.ipv6_loopback = loopback.value();
  }

  NftTransaction changes(table);
  changes.Table();
  for (const Family* family : {&kIpv4, &kIpv6}) {
    changes.Map(PortsMap(*family, false)).Map(PortsMap(*family, true));
  }
  changes.Chain(kGuard, {"filter", NF_INET_PRE_ROUTING, kRaw})
      .Chain(kPorts)
      .Chain(kPrerouting, {"nat", NF_INET_PRE_ROUTING, kDestinationNat})
      .Chain(kOutput, {"nat", NF_INET_LOCAL_OUT, kDestinationNat})
      .Chain(kPostrouting, {"nat", NF_INET_POST_ROUTING, kSourceNat});
  // At no moment is a packet without its rule: the old ones go when the new ones come.
  for (const char* chain : kChains) changes.RemoveRules(chain);
  changes.Rule(kGuard, [&](NftRule& rule) { GuardRule(rule, bridge); });
  PortRules(changes, kIpv4);
  if (!state.ipv6_loopback) {
    changes.Rule(kPorts, [](NftRule& rule) {
      OfFamily(rule, kIpv6)
          .Payload({NFT_PAYLOAD_NETWORK_HEADER, kIpv6.destination_offset, kIpv6.address_bytes},
                   NFT_REG_1)
          .Equal(ParseIpAddress("::1").value().bytes)
          .Return();
    });
  }
  PortRules(changes, kIpv6);
  for (const char* chain : {kPrerouting, kOutput}) {
    changes.Rule(chain, [](NftRule& rule) {
      rule.DestinationType().Equal(NumberBytes<uint32_t>(RTN_LOCAL)).Jump(kPorts);
    });
  }
  PostroutingRules(changes, kIpv4, bridge, subnet.value());
  if (!subnet6_cidr.empty()) {
    Result<IpNetwork> subnet6 = ParseIpNetwork(subnet6_cidr);
    if (!subnet6.ok()) return subnet6.failure();
    PostroutingRules(changes, kIpv6, bridge, subnet6.value());
  }
  Status done = changes.Commit("create nftables table");
  if (!done.ok()) return done.failure();
  // After the guard, never before it.
  done = WriteControl("/proc/sys/net/ipv4/conf/" + bridge + "/route_localnet", "1");
  if (!done.ok()) return done.failure();
  return state;
}

Status AddHostPorts(const std::string& table, const std::vector<HostPort>& ports) {
  NftTransaction changes(table);
  for (const HostPort& port : ports) {
    Result<Element> element = ElementOf(port);
    if (!element.ok()) return element.failure();
    changes.Element(element.value().map, element.value().key, element.value().data);
  }
  if (ports.empty()) return Done{};
  return changes.Commit("add host ports to nftables table");
}

Status RemoveHostPorts(const std::string& table, const std::vector<HostPort>& ports) {
  for (const HostPort& port : ports) {
    Result<Element> element = ElementOf(port);
    if (!element.ok()) return element.failure();
    const auto& [map, key, data] = element.value();
    // Removing what may not be there would fail, so it is made first, which fails when it is there
    // and somebody else's.
    NftTransaction changes(table);
    changes.Element(map, key, data).RemoveElement(map, key, data);
    Status done = changes.Commit("remove host port from nftables table");
    if (done.ok()) continue;
    const int error = done.failure().error;
    if (error != ENOENT && error != EEXIST && error != EBUSY) return done;
  }
  return Done{};
}

Status RemovePodTable(const std::string& table) {
  Status checked = CheckNftTableName(table);
  if (!checked.ok()) return checked;
  NftTransaction changes(table);
  changes.RemoveTable();
  Status removed = changes.Commit("remove nftables table");
  if (!removed.ok() && removed.failure().error == ENOENT) return Done{};
  return removed;
}

}  // namespace cais
