#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernel/result.h"

namespace cais {

// One mounted tree of cgroups.
struct CgroupHierarchy {
  bool v2 = false;
  std::vector<std::string> controllers;  // of a named v1 hierarchy: `name=systemd`
  std::string mountpoint;

  bool Has(const char* controller) const;
};

// What the machine mounts: v1 hierarchies, a v2 tree, or both (hybrid).
struct CgroupMounts {
  std::vector<CgroupHierarchy> v1;  // in the order of the mount table
  std::optional<CgroupHierarchy> v2;

  // v1 in order, then v2.
  std::vector<CgroupHierarchy> All() const;
};

// Reads /proc/self/mountinfo. `UNSUPPORTED` when nothing is mounted.
Result<CgroupMounts> ReadCgroupMounts();

// For tests and ReadCgroupMounts: everything but the v2 tree's controllers, which are in a file.
CgroupMounts ParseCgroupMounts(const std::string& mountinfo);

}  // namespace cais
