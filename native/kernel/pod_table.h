#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernel/result.h"

namespace cais {

struct PodTable {
  std::string table;
  std::string bridge;
  std::string subnet_cidr;
  std::string subnet6_cidr;  // empty: no IPv6
};

struct PodTableState {
  // The table was not there before: it has no host port yet.
  bool created = false;
  // Host ports can be reached by ::1.
  bool ipv6_loopback = false;
};

// One port of this machine that leads to a pod. Both addresses are of one family.
struct HostPort {
  uint8_t protocol = 0;  // IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP
  std::string host_ip;   // empty: every address of the machine, of the family of `pod_ip`
  uint16_t host_port = 0;
  std::string pod_ip;
  uint16_t pod_port = 0;
};

// Our table of nf_tables over netlink, in the network namespace of the calling thread: what leaves
// the pods' network, and the ports of the machine that lead into it. Pods are elements of maps, so
// that a packet costs the same however many there are. What nft would call
//
//   table inet <table> {
//     map ports4 { type inet_proto . inet_service : ipv4_addr . inet_service }
//     map bound_ports4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }
//     map ports6, map bound_ports6: the same for IPv6
//     chain guard {
//       type filter hook prerouting priority raw
//       iifname "<bridge>" ip daddr 127.0.0.0/8 drop
//     }
//     chain ports {
//       dnat ip to ip daddr . meta l4proto . th dport map @bound_ports4
//       dnat ip to meta l4proto . th dport map @ports4
//       ip6 daddr ::1 return                             (only where ::1 cannot work)
//       the two for IPv6
//     }
//     chain prerouting { type nat hook prerouting priority dstnat; fib daddr type local jump ports
//     } chain output { type nat hook output priority dstnat; fib daddr type local jump ports }
//     chain postrouting {
//       type nat hook postrouting priority srcnat
//       ip saddr <subnet> oifname != "<bridge>" masquerade fully-random
//       ip saddr 127.0.0.0/8 oifname "<bridge>" masquerade
//       ip saddr <subnet> oifname "<bridge>" ct status dnat masquerade
//       the three for IPv6
//     }
//   }
//
// The machine's own 127.0.0.1 reaches a pod because the bridge may route that network
// (route_localnet) and the pod sees the bridge as its peer. What this would let pods do, send to
// services that listen on the machine's loopback only, the guard drops (CVE-2020-8558). The last
// rule makes answers between pods, and of a pod to itself, come back by this machine, where the
// address is turned back.
//
// For IPv6 a route ::1 through the bridge does it, which nobody outside of the machine can use: the
// kernel drops what arrives for ::1 from outside before any rule. It drops answers of pods in the
// same way where br_netfilter (bridge-nf-call-ip6tables) turns addresses back below IP; there ::1
// is left alone.
Result<PodTableState> EnsurePodTable(const PodTable& table);

// All of them or none. Equal ones that are there are success; EEXIST or EBUSY when a port leads to
// another pod.
Status AddHostPorts(const std::string& table, const std::vector<HostPort>& ports);

// Absent is success, the table too; a port that leads to another pod by now stays.
Status RemoveHostPorts(const std::string& table, const std::vector<HostPort>& ports);

// Absent is success.
Status RemovePodTable(const std::string& table);

}  // namespace cais
