#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernel/cgroup_mounts.h"
#include "kernel/device_program.h"
#include "kernel/result.h"

namespace cais {

// Limits of one cgroup in the units of the CRI; an absent one is not touched. See CgroupResources
// in src/native.ts.
struct CgroupLimits {
  std::optional<int64_t> cpu_shares;
  std::optional<int64_t> cpu_quota_micros;
  std::optional<int64_t> cpu_period_micros;
  std::optional<std::string> cpuset_cpus;
  std::optional<std::string> cpuset_mems;
  std::optional<int64_t> memory_limit_bytes;
  std::optional<int64_t> memory_swap_limit_bytes;  // memory and swap together
  std::optional<int64_t> pids_limit;
  // By page size (`2MB`); a size that the machine does not have is passed over, since the kubelet
  // sends limits for all that it knows.
  std::vector<std::pair<std::string, int64_t>> hugepages;
  std::vector<std::pair<std::string, std::string>> unified;
  std::optional<std::vector<DeviceRule>> devices;
};

// `path` is relative and the same in every hierarchy. Every function is idempotent and may run
// beside another one on the same parents.

// Makes the cgroup and its parents in every hierarchy, then sets the limits; returns the absolute
// directories in the order of CgroupMounts::All. On failure what this call made is gone again.
Result<std::vector<std::string>> CreateCgroup(const std::string& path, const CgroupLimits& limits);

Status UpdateCgroup(const std::string& path, const CgroupLimits& limits);

// SIGKILL to everything in and below, until nothing is left. `TIMED_OUT` after `timeout_ms`.
Status KillCgroup(const std::string& path, int64_t timeout_ms,
                  const std::function<bool()>& abandoned);

// Removes the cgroup and those below. The kernel lets go of dead processes a moment after their
// end, so that EBUSY is waited out for up to kRemoveTimeoutMs.
constexpr int64_t kRemoveTimeoutMs = 5000;
Status RemoveCgroup(const std::string& path, const std::function<bool()>& abandoned);

// `INVALID_ARGUMENT` for an absolute path, one with "..", or an empty component.
Status CheckCgroupPath(const std::string& path);

}  // namespace cais
