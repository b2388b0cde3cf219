#include "kernel/pod_network.h"

#include <dirent.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>

#include "kernel/control_file.h"
#include "kernel/network_namespace.h"

namespace cais {

namespace {

constexpr const char* kForwardingPath = "/proc/sys/net/ipv4/ip_forward";
constexpr const char* kIpv6ConfPath = "/proc/sys/net/ipv6/conf/";
constexpr const char* kPodLink = "eth0";
constexpr const char* kLoopback = "lo";

Status CheckLinkName(const std::string& name) {
  if (!name.empty() && name.size() < IFNAMSIZ && name.find('/') == std::string::npos) return Done{};
  return Refuse("INVALID_ARGUMENT",
                "\"" + name + "\" is not a name for a network link (1 to 15 bytes)");
}

Result<LinkSocket> OpenLinkSocketIn(int netns_fd, const std::string& path) {
  std::optional<Result<LinkSocket>> opened;
  Status visited = RunInNetworkNamespace(netns_fd, path, [&]() -> Status {
    opened.emplace(LinkSocket::Open());
    return Done{};
  });
  if (!visited.ok()) return visited.failure();
  return std::move(*opened);
}

Result<NetworkLink> FindExisting(LinkSocket* links, const std::string& name) {
  Result<std::optional<NetworkLink>> link = links->Find(name);
  if (!link.ok()) return link.failure();
  if (!link.value()) return Failure{ENODEV, "find link", name, {}};
  return std::move(*link.value());
}

Status BringUp(LinkSocket* links, const std::string& name) {
  Result<NetworkLink> link = FindExisting(links, name);
  if (!link.ok()) return link.failure();
  return link.value().up ? Done{} : links->SetUp(link.value().index, name);
}

std::string Ipv6Setting(const std::string& link, const char* name) {
  return kIpv6ConfPath + link + "/" + name;
}

Status SetIfOther(const std::string& path, const std::string& value) {
  Result<std::string> now = ReadControl(path);
  if (!now.ok()) return now.failure();
  return now.value() == value ? Done{} : WriteControl(path, value);
}

// In the namespace of the calling thread. With forwarding on, the kernel takes no more routes from
// announcements where accept_ra is 1: a machine that got its own IPv6 route that way would lose it.
Status EnableIpv6Forwarding() {
  const std::string all = Ipv6Setting("all", "forwarding");
  Result<std::string> now = ReadControl(all);
  if (!now.ok()) return now.failure();
  if (now.value() != "0") return Done{};
  const std::unique_ptr<DIR, int (*)(DIR*)> links(opendir(kIpv6ConfPath), closedir);
  if (!links) return Errno("open directory", kIpv6ConfPath);
  while (const dirent* entry = readdir(links.get())) {
    const std::string link = entry->d_name;
    if (link[0] == '.' || link == "all" || link == "default") continue;
    const std::string path = Ipv6Setting(link, "accept_ra");
    Result<std::string> accepts = ReadControl(path);
    // A link may go away meanwhile.
    if (accepts.ok() && accepts.value() == "1") (void)WriteControl(path, "2");
  }
  return WriteControl(all, "1");
}

// On the thread that is inside the pod's namespace, before the link comes up. Duplicates are not
// looked for: the port of the bridge sends frames back where they came from, a pod would see its
// own question. Announcements of routers can only come from another pod.
bool PrepareIpv6() {
  Result<std::string> disabled = ReadControl(Ipv6Setting(kPodLink, "disable_ipv6"));
  if (!disabled.ok() || disabled.value() != "0") return false;
  return WriteControl(Ipv6Setting(kPodLink, "accept_dad"), "0").ok() &&
         WriteControl(Ipv6Setting(kPodLink, "accept_ra"), "0").ok();
}

struct Ipv6Interface {
  IpNetwork address;
  IpAddress gateway;
};

struct PodAddresses {
  Ipv4Network address;
  uint32_t gateway = 0;
  std::optional<Ipv6Interface> ipv6;
};

Result<PodAddresses> ParseAddresses(const PodInterface& pod) {
  Result<Ipv4Network> address = ParseIpv4Network(pod.address_cidr);
  if (!address.ok()) return address.failure();
  Result<uint32_t> gateway = ParseIpv4Address(pod.gateway);
  if (!gateway.ok()) return gateway.failure();
  PodAddresses parsed = {address.value(), gateway.value(), {}};
  if (pod.address6_cidr.empty()) return parsed;
  Result<IpNetwork> address6 = ParseIpNetwork(pod.address6_cidr);
  if (!address6.ok()) return address6.failure();
  Result<IpAddress> gateway6 = ParseIpAddress(pod.gateway6);
  if (!gateway6.ok()) return gateway6.failure();
  parsed.ipv6 = Ipv6Interface{address6.value(), gateway6.value()};
  return parsed;
}

Status ConfigureIpv6(LinkSocket* inside, uint32_t index, const Ipv6Interface& ipv6) {
  Status done = inside->AddIpv6Address(index, ipv6.address, kPodLink);
  if (done.ok()) done = inside->AddDefaultIpv6Route(index, ipv6.gateway, kPodLink);
  return done;
}

// Addresses, link and routes inside the pod's namespace; true: IPv6 ones too.
Result<bool> ConfigurePod(int netns_fd, const PodInterface& pod, const PodAddresses& addresses) {
  std::optional<Result<LinkSocket>> opened;
  bool ipv6 = false;
  Status visited = RunInNetworkNamespace(netns_fd, pod.netns_path, [&]() -> Status {
    opened.emplace(LinkSocket::Open());
    ipv6 = addresses.ipv6 && PrepareIpv6();
    return Done{};
  });
  if (!visited.ok()) return visited.failure();
  if (!opened->ok()) return opened->failure();
  LinkSocket& inside = opened->value();
  Status done = BringUp(&inside, kLoopback);
  if (!done.ok()) return done.failure();
  Result<NetworkLink> link = FindExisting(&inside, kPodLink);
  if (!link.ok()) return link.failure();
  const uint32_t index = link.value().index;
  done = inside.AddAddress(index, addresses.address, kPodLink);
  if (done.ok()) done = inside.SetUp(index, kPodLink);
  if (done.ok()) done = inside.AddDefaultRoute(index, addresses.gateway, kPodLink);
  if (done.ok() && ipv6) done = ConfigureIpv6(&inside, index, *addresses.ipv6);
  if (!done.ok()) return done.failure();
  return ipv6;
}

Failure Conflict(const std::string& message) { return Refuse("CONFLICT", message); }

}  // namespace

Result<std::vector<NetworkLink>> ListLinks() {
  Result<LinkSocket> links = LinkSocket::Open();
  if (!links.ok()) return links.failure();
  return links.value().List();
}

Status EnsureBridge(const BridgeLink& wanted) {
  const auto& [name, address_cidr, address6_cidr] = wanted;
  Status checked = CheckLinkName(name);
  if (!checked.ok()) return checked;
  Result<Ipv4Network> address = ParseIpv4Network(address_cidr);
  if (!address.ok()) return address.failure();
  Result<LinkSocket> opened = LinkSocket::Open();
  if (!opened.ok()) return opened.failure();
  LinkSocket& links = opened.value();
  Status added = links.AddBridge(name, MacForAddress(address.value().address));
  if (!added.ok() && added.failure().error != EEXIST) return added;
  Result<NetworkLink> bridge = FindExisting(&links, name);
  if (!bridge.ok()) return bridge.failure();
  if (bridge.value().kind != "bridge") {
    return Conflict("The network link \"" + name + "\" exists and is not a bridge");
  }
  for (const std::string& other : bridge.value().addresses) {
    // IPv6 ones come by themselves.
    if (other != address_cidr && other.find(':') == std::string::npos) {
      return Conflict("The bridge \"" + name + "\" has the address " + other + ", expected " +
                      address_cidr);
    }
  }
  Status done = links.AddAddress(bridge.value().index, address.value(), name);
  if (!done.ok() && done.failure().error != EEXIST) return done;
  if (!address6_cidr.empty()) {
    Result<IpNetwork> address6 = ParseIpNetwork(address6_cidr);
    if (!address6.ok()) return address6.failure();
    // Announcements of routers on the bridge can only come from a pod.
    done = SetIfOther(Ipv6Setting(name, "accept_ra"), "0");
    if (!done.ok()) return done;
    done = links.AddIpv6Address(bridge.value().index, address6.value(), name);
    if (!done.ok() && done.failure().error != EEXIST) return done;
    done = EnableIpv6Forwarding();
    if (!done.ok()) return done;
  }
  if (!bridge.value().up) {
    done = links.SetUp(bridge.value().index, name);
    if (!done.ok()) return done;
  }
  return SetIfOther(kForwardingPath, "1");
}

Result<PodLink> AddPodInterface(const PodInterface& pod) {
  Status checked = CheckLinkName(pod.host_name);
  if (!checked.ok()) return checked.failure();
  Result<PodAddresses> addresses = ParseAddresses(pod);
  if (!addresses.ok()) return addresses.failure();
  Result<UniqueFd> netns = OpenNetworkNamespace(pod.netns_path);
  if (!netns.ok()) return netns.failure();
  Result<LinkSocket> links = LinkSocket::Open();
  if (!links.ok()) return links.failure();
  Result<NetworkLink> bridge = FindExisting(&links.value(), pod.bridge);
  if (!bridge.ok()) return bridge.failure();

  VethPair pair;
  pair.host_name = pod.host_name;
  pair.bridge_index = bridge.value().index;
  pair.peer_name = kPodLink;
  pair.peer_mac = MacForAddress(addresses.value().address.address);
  pair.peer_netns_fd = netns.value().get();
  Status done = links.value().AddVeth(pair);
  if (!done.ok()) return done.failure();
  Result<bool> configured = Failure{};
  Result<NetworkLink> host_end = FindExisting(&links.value(), pod.host_name);
  if (!host_end.ok()) {
    configured = host_end.failure();
  } else if (done = links.value().SetHairpin(host_end.value().index, pod.host_name); !done.ok()) {
    configured = done.failure();
  } else {
    configured = ConfigurePod(netns.value().get(), pod, addresses.value());
  }
  if (!configured.ok()) {
    // One end takes the other with it.
    (void)links.value().Remove(pod.host_name);
    return configured.failure();
  }
  return PodLink{MacText(pair.peer_mac), configured.value()};
}

Status SetLoopbackUp(const std::string& netns_path) {
  Result<UniqueFd> netns = OpenNetworkNamespace(netns_path);
  if (!netns.ok()) return netns.failure();
  Result<LinkSocket> links = OpenLinkSocketIn(netns.value().get(), netns_path);
  if (!links.ok()) return links.failure();
  return BringUp(&links.value(), kLoopback);
}

Status RemoveLink(const std::string& name) {
  Status checked = CheckLinkName(name);
  if (!checked.ok()) return checked;
  Result<LinkSocket> links = LinkSocket::Open();
  if (!links.ok()) return links.failure();
  return links.value().Remove(name);
}

}  // namespace cais
