#include "kernel/pod_network.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <thread>

#include "kernel/control_file.h"

namespace cais {

namespace {

constexpr const char* kForwardingPath = "/proc/sys/net/ipv4/ip_forward";
constexpr const char* kPodLink = "eth0";
constexpr const char* kLoopback = "lo";

Status CheckLinkName(const std::string& name) {
  if (!name.empty() && name.size() < IFNAMSIZ && name.find('/') == std::string::npos) return Done{};
  return Refuse("INVALID_ARGUMENT",
                "\"" + name + "\" is not a name for a network link (1 to 15 bytes)");
}

Result<UniqueFd> OpenNamespace(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return Errno("open network namespace", path);
  return fd;
}

// A socket belongs to the namespace in which it was opened, whoever uses it later. Opened on a
// thread of its own, which ends afterwards: no thread that does other work is ever in a pod's
// namespace.
Result<LinkSocket> OpenLinkSocketIn(int netns_fd, const std::string& path) {
  std::optional<Result<LinkSocket>> opened;
  std::thread opener([&] {
    if (setns(netns_fd, CLONE_NEWNET) != 0) {
      opened.emplace(Errno("join network namespace", path));
    } else {
      opened.emplace(LinkSocket::Open());
    }
  });
  opener.join();
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

// Address, link and route inside the pod's namespace.
Status ConfigurePod(int netns_fd, const PodInterface& pod, const Ipv4Network& address,
                    uint32_t gateway) {
  Result<LinkSocket> inside = OpenLinkSocketIn(netns_fd, pod.netns_path);
  if (!inside.ok()) return inside.failure();
  Status done = BringUp(&inside.value(), kLoopback);
  if (!done.ok()) return done;
  Result<NetworkLink> link = FindExisting(&inside.value(), kPodLink);
  if (!link.ok()) return link.failure();
  const uint32_t index = link.value().index;
  done = inside.value().AddAddress(index, address, kPodLink);
  if (done.ok()) done = inside.value().SetUp(index, kPodLink);
  if (done.ok()) done = inside.value().AddDefaultRoute(index, gateway, kPodLink);
  return done;
}

Failure Conflict(const std::string& message) { return Refuse("CONFLICT", message); }

}  // namespace

Result<std::vector<NetworkLink>> ListLinks() {
  Result<LinkSocket> links = LinkSocket::Open();
  if (!links.ok()) return links.failure();
  return links.value().List();
}

Status EnsureBridge(const std::string& name, const std::string& address_cidr) {
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
  if (!bridge.value().up) {
    done = links.SetUp(bridge.value().index, name);
    if (!done.ok()) return done;
  }
  Result<std::string> forwarding = ReadControl(kForwardingPath);
  if (!forwarding.ok()) return forwarding.failure();
  return forwarding.value() == "0" ? WriteControl(kForwardingPath, "1") : Done{};
}

Result<std::string> AddPodInterface(const PodInterface& pod) {
  Status checked = CheckLinkName(pod.host_name);
  if (!checked.ok()) return checked.failure();
  Result<Ipv4Network> address = ParseIpv4Network(pod.address_cidr);
  if (!address.ok()) return address.failure();
  Result<uint32_t> gateway = ParseIpv4Address(pod.gateway);
  if (!gateway.ok()) return gateway.failure();
  Result<UniqueFd> netns = OpenNamespace(pod.netns_path);
  if (!netns.ok()) return netns.failure();
  Result<LinkSocket> links = LinkSocket::Open();
  if (!links.ok()) return links.failure();
  Result<NetworkLink> bridge = FindExisting(&links.value(), pod.bridge);
  if (!bridge.ok()) return bridge.failure();

  VethPair pair;
  pair.host_name = pod.host_name;
  pair.bridge_index = bridge.value().index;
  pair.peer_name = kPodLink;
  pair.peer_mac = MacForAddress(address.value().address);
  pair.peer_netns_fd = netns.value().get();
  Status done = links.value().AddVeth(pair);
  if (!done.ok()) return done.failure();
  done = ConfigurePod(netns.value().get(), pod, address.value(), gateway.value());
  if (!done.ok()) {
    // One end takes the other with it.
    (void)links.value().Remove(pod.host_name);
    return done.failure();
  }
  return MacText(pair.peer_mac);
}

Status SetLoopbackUp(const std::string& netns_path) {
  Result<UniqueFd> netns = OpenNamespace(netns_path);
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
