#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernel/result.h"

namespace cais {

struct UdpFlows {
  // Ports of this machine that begin to lead elsewhere.
  std::vector<uint16_t> host_ports;
  // Addresses of a pod that is gone.
  std::vector<std::string> pod_ips;
};

// Makes the kernel forget the UDP flows to these ports of this machine's own addresses, and those
// that it sends to these pods. The rules for host ports are only asked for the first packet of a
// flow: a client that keeps its port would go on to reach the pod that had the port before, or
// none. Kernels without conntrack over netlink are left as they are.
Status ForgetUdpFlows(const UdpFlows& flows);

}  // namespace cais
