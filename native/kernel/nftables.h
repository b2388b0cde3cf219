#pragma once

#include <string>

#include "kernel/ipv4.h"
#include "kernel/result.h"

namespace cais {

// nf_tables over netlink, in the network namespace of the calling thread. What nft would call
//
//   table inet <table> {
//     chain postrouting {
//       type nat hook postrouting priority srcnat; policy accept;
//       ip saddr <subnet> oifname != "<bridge>" masquerade fully-random
//     }
//   }
//
// Replaced as a whole in one transaction: at no moment is a packet without its rule, and an equal
// table that was there before does no harm.
Status EnsureMasquerade(const std::string& table, const std::string& bridge,
                        const std::string& subnet_cidr);

// Absent is success.
Status RemoveMasquerade(const std::string& table);

}  // namespace cais
