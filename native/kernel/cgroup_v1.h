#pragma once

#include <string>

#include "kernel/cgroup.h"

namespace cais {

// Makes a fresh directory of a v1 hierarchy usable: a cpuset refuses processes until it has CPUs
// and memory nodes, which it takes from its parent here.
Status PrepareCgroupV1(const CgroupHierarchy& hierarchy, const std::string& directory);

// Sets those limits that the controllers of this hierarchy enforce.
Status LimitCgroupV1(const CgroupHierarchy& hierarchy, const std::string& directory,
                     const CgroupLimits& limits);

}  // namespace cais
