#include "kernel/cgroup_v2.h"

#include <algorithm>
#include <cerrno>
#include <cmath>

#include "kernel/control_file.h"

namespace cais {

namespace {

constexpr int64_t kDefaultPeriodMicros = 100'000;

std::string NumberOrMax(int64_t value) { return value < 0 ? "max" : std::to_string(value); }

// A missing file means that its controller does not reach this cgroup.
Status WriteLimit(const std::string& directory, const std::string& file, const std::string& value) {
  Status set = WriteControl(directory + "/" + file, value);
  if (set.ok() || set.failure().error != ENOENT) return set;
  return Refuse("UNSUPPORTED",
                "Cannot set " + file + ": the controller \"" + file.substr(0, file.find('.')) +
                    "\" is not available in the cgroup \"" + directory +
                    "\" (see cgroup.controllers and cgroup.subtree_control above it)");
}

Status LimitCpu(const std::string& directory, const CgroupLimits& limits) {
  if (limits.cpu_shares) {
    Status set =
        WriteLimit(directory, "cpu.weight", std::to_string(WeightForShares(*limits.cpu_shares)));
    if (!set.ok()) return set;
  }
  if (!limits.cpu_quota_micros && !limits.cpu_period_micros) return Done{};
  // "quota period"; a period alone keeps the quota.
  std::string quota = "max";
  if (limits.cpu_quota_micros) {
    if (*limits.cpu_quota_micros > 0) quota = std::to_string(*limits.cpu_quota_micros);
  } else {
    Result<std::string> current = ReadControl(directory + "/cpu.max");
    if (current.ok()) quota = current.value().substr(0, current.value().find(' '));
  }
  const int64_t period = limits.cpu_period_micros.value_or(kDefaultPeriodMicros);
  return WriteLimit(directory, "cpu.max", quota + " " + std::to_string(period));
}

Status LimitSwap(const std::string& directory, const CgroupLimits& limits) {
  if (!limits.memory_swap_limit_bytes) return Done{};
  std::string swap = "max";
  if (*limits.memory_swap_limit_bytes >= 0) {
    int64_t memory = limits.memory_limit_bytes.value_or(-1);
    if (!limits.memory_limit_bytes) {
      Result<int64_t> current = ReadControlNumber(directory + "/memory.max");
      if (!current.ok()) return current.failure();
      memory = current.value();
    }
    if (memory < 0 || *limits.memory_swap_limit_bytes < memory) {
      return Refuse("INVALID_ARGUMENT", "The limit of memory and swap, " +
                                            std::to_string(*limits.memory_swap_limit_bytes) +
                                            " bytes, needs a memory limit that is not larger");
    }
    swap = std::to_string(*limits.memory_swap_limit_bytes - memory);
  }
  // Without swap accounting the kernel has no such file, and nothing to limit.
  if (!ControlExists(directory + "/memory.swap.max")) return Done{};
  return WriteControl(directory + "/memory.swap.max", swap);
}

// Of a page size that the machine does not have, or where the controller is missing, there can be
// no page to limit.
Status LimitHugepages(const std::string& directory, const CgroupLimits& limits) {
  for (const auto& [size, bytes] : limits.hugepages) {
    // The second also holds pages that are reserved and not yet used.
    for (const char* file : {".max", ".rsvd.max"}) {
      const std::string path = directory + "/hugetlb." + size + file;
      if (!ControlExists(path)) continue;
      Status set = WriteControl(path, NumberOrMax(bytes));
      if (!set.ok()) return set;
    }
  }
  return Done{};
}

Status SetUnified(const std::string& directory, const std::string& file, const std::string& value) {
  const bool plain = file.find('/') == std::string::npos && file.find('.') != std::string::npos;
  if (!plain || file.starts_with("cgroup.") || file.front() == '.') {
    return Refuse("INVALID_ARGUMENT", "\"" + file + "\" is not the file of a cgroup controller");
  }
  return WriteLimit(directory, file, value);
}

}  // namespace

int64_t WeightForShares(int64_t shares) {
  constexpr int64_t kMinShares = 2;
  constexpr int64_t kMaxShares = 262'144;
  const double log = std::log2(static_cast<double>(std::clamp(shares, kMinShares, kMaxShares)));
  const double exponent = (log * log + 125 * log) / 612.0 - 7.0 / 34.0;
  return std::clamp<int64_t>(static_cast<int64_t>(std::ceil(std::pow(10, exponent) - 1e-9)), 1,
                             10'000);
}

void DelegateControllersV2(const CgroupHierarchy& hierarchy, const std::string& directory) {
  for (const char* controller : {"cpuset", "cpu", "io", "memory", "hugetlb", "pids"}) {
    if (!hierarchy.Has(controller)) continue;
    // One at a time: a single refused one would take the others with it.
    (void)WriteControl(directory + "/cgroup.subtree_control", std::string("+") + controller);
  }
}

Status LimitCgroupV2(const std::string& directory, const CgroupLimits& limits) {
  Status set = LimitCpu(directory, limits);
  if (set.ok() && limits.cpuset_cpus) {
    set = WriteLimit(directory, "cpuset.cpus", *limits.cpuset_cpus);
  }
  if (set.ok() && limits.cpuset_mems) {
    set = WriteLimit(directory, "cpuset.mems", *limits.cpuset_mems);
  }
  if (set.ok() && limits.memory_limit_bytes) {
    set = WriteLimit(directory, "memory.max", NumberOrMax(*limits.memory_limit_bytes));
  }
  if (set.ok()) set = LimitSwap(directory, limits);
  if (set.ok() && limits.pids_limit) {
    set = WriteLimit(directory, "pids.max", NumberOrMax(*limits.pids_limit));
  }
  if (set.ok()) set = LimitHugepages(directory, limits);
  for (const auto& [file, value] : limits.unified) {
    if (set.ok()) set = SetUnified(directory, file, value);
  }
  if (set.ok() && limits.devices) set = AttachDeviceProgram(directory, *limits.devices);
  return set;
}

}  // namespace cais
