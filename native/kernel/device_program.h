#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernel/result.h"

namespace cais {

struct DeviceRule {
  bool allow = false;
  char type = 'a';     // 'a' (all), 'b', 'c'
  int64_t major = -1;  // -1: any
  int64_t minor = -1;
  std::string access;  // letters of "rwm"
};

// Makes the rules (a later one overrides an earlier one; what no rule names is denied) the only
// device program of a v2 cgroup. A program attached to a parent still has its say.
Status AttachDeviceProgram(const std::string& directory, const std::vector<DeviceRule>& rules);

}  // namespace cais
