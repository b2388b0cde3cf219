#pragma once

#include <string>
#include <vector>

#include "kernel/result.h"
#include "kernel/rtnetlink.h"

namespace cais {

struct PodInterface {
  std::string netns_path;
  std::string bridge;
  std::string host_name;  // at most 15 bytes
  std::string address_cidr;
  std::string gateway;
  // Both empty: no IPv6.
  std::string address6_cidr;
  std::string gateway6;
};

struct BridgeLink {
  std::string name;
  std::string address_cidr;
  std::string address6_cidr;  // empty: no IPv6
};

struct PodLink {
  std::string mac_address;
  // False where the namespace has IPv6 switched off.
  bool has_ipv6 = false;
};

// All of this happens in the network namespace of the calling thread, and for pods in theirs
// through sockets that were opened there.

Result<std::vector<NetworkLink>> ListLinks();

// Creates the bridge when it is absent, with its addresses; it and forwarding are on afterwards.
// `CONFLICT` when the name belongs to another kind of link, or to a bridge with another IPv4
// address. Links that take their IPv6 routes from announcements of routers go on with it, although
// the machine forwards (accept_ra 2 instead of 1).
Status EnsureBridge(const BridgeLink& bridge);

// Gives the namespace its `eth0`. Nothing is left of a failed call.
Result<PodLink> AddPodInterface(const PodInterface& pod);

Status SetLoopbackUp(const std::string& netns_path);

Status RemoveLink(const std::string& name);

}  // namespace cais
