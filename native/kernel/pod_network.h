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
};

// All of this happens in the network namespace of the calling thread, and for pods in theirs
// through sockets that were opened there.

Result<std::vector<NetworkLink>> ListLinks();

// Creates the bridge when it is absent, with its address; it and IPv4 forwarding are on afterwards.
// `CONFLICT` when the name belongs to another kind of link, or to a bridge with another address.
Status EnsureBridge(const std::string& name, const std::string& address_cidr);

// Gives the namespace its `eth0` and returns that one's hardware address. Nothing is left of a
// failed call.
Result<std::string> AddPodInterface(const PodInterface& pod);

Status SetLoopbackUp(const std::string& netns_path);

Status RemoveLink(const std::string& name);

}  // namespace cais
