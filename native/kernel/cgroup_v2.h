#pragma once

#include <string>

#include "kernel/cgroup.h"

namespace cais {

// Hands the tree's controllers to the children of `directory`. A controller that the kernel does
// not hand on here is left out: the limit that needs it fails then, by name.
void DelegateControllersV2(const CgroupHierarchy& hierarchy, const std::string& directory);

// Sets the limits. In a tree without controllers (hybrid machines) only devices are not done by v1,
// and those are, too, wherever v1 has the devices controller: `limits` says what is left.
Status LimitCgroupV2(const std::string& directory, const CgroupLimits& limits);

// cpu.weight (1 to 10000) for cpu.shares (2 to 262144), on the curve that sends 2, 1024 and 262144
// to 1, 100 and 10000, the minimum, default and maximum of both: as runc and crun do since 2025.
// The straight line of the kubelet's pod cgroups would send the default to 39.
int64_t WeightForShares(int64_t shares);

}  // namespace cais
