#include "kernel/cgroup_v1.h"

#include <cerrno>

#include "kernel/control_file.h"

namespace cais {

namespace {

Status InheritCpuset(const std::string& directory, const char* file) {
  const std::string path = directory + "/" + file;
  Result<std::string> own = ReadControl(path);
  if (!own.ok()) return own.failure();
  if (!own.value().empty()) return Done{};
  const std::string parent = directory.substr(0, directory.rfind('/'));
  Result<std::string> inherited = ReadControl(parent + "/" + file);
  if (!inherited.ok()) return inherited.failure();
  return WriteControl(path, inherited.value());
}

Status LimitCpu(const std::string& directory, const CgroupLimits& limits) {
  if (limits.cpu_shares) {
    Status set = WriteControl(directory + "/cpu.shares", std::to_string(*limits.cpu_shares));
    if (!set.ok()) return set;
  }
  const std::string period_path = directory + "/cpu.cfs_period_us";
  bool period_later = false;
  if (limits.cpu_period_micros) {
    Status set = WriteControl(period_path, std::to_string(*limits.cpu_period_micros));
    // The old quota in the new period may be more than the parent allows: the quota goes first
    // then.
    period_later = !set.ok() && set.failure().error == EINVAL && limits.cpu_quota_micros;
    if (!set.ok() && !period_later) return set;
  }
  if (limits.cpu_quota_micros) {
    const int64_t quota = *limits.cpu_quota_micros > 0 ? *limits.cpu_quota_micros : -1;
    Status set = WriteControl(directory + "/cpu.cfs_quota_us", std::to_string(quota));
    if (!set.ok()) return set;
  }
  if (period_later) return WriteControl(period_path, std::to_string(*limits.cpu_period_micros));
  return Done{};
}

Status LimitCpuset(const std::string& directory, const CgroupLimits& limits) {
  Status set = Done{};
  if (limits.cpuset_cpus) set = WriteControl(directory + "/cpuset.cpus", *limits.cpuset_cpus);
  if (set.ok() && limits.cpuset_mems) {
    set = WriteControl(directory + "/cpuset.mems", *limits.cpuset_mems);
  }
  return set;
}

// The kernel keeps "memory ≤ memory and swap" at every moment, so that raising and lowering both
// need another order of the two writes.
Status LimitMemory(const std::string& directory, const CgroupLimits& limits) {
  const std::string memory_path = directory + "/memory.limit_in_bytes";
  const std::string swap_path = directory + "/memory.memsw.limit_in_bytes";
  // Without swap accounting the kernel has no such file, and nothing to limit.
  const bool has_swap = limits.memory_swap_limit_bytes && ControlExists(swap_path);
  const std::string swap = has_swap ? std::to_string(*limits.memory_swap_limit_bytes) : "";
  if (!limits.memory_limit_bytes) return has_swap ? WriteControl(swap_path, swap) : Done{};
  const std::string memory = std::to_string(*limits.memory_limit_bytes);
  if (!has_swap) return WriteControl(memory_path, memory);
  Status set = WriteControl(memory_path, memory);
  if (set.ok()) return WriteControl(swap_path, swap);
  if (set.failure().error != EINVAL) return set;
  set = WriteControl(swap_path, swap);
  if (!set.ok()) return set;
  return WriteControl(memory_path, memory);
}

// Of a page size that the machine does not have there can be no page.
Status LimitHugepages(const std::string& directory, const CgroupLimits& limits) {
  for (const auto& [size, bytes] : limits.hugepages) {
    // The second also holds pages that are reserved and not yet used (Linux 5.7).
    for (const char* file : {".limit_in_bytes", ".rsvd.limit_in_bytes"}) {
      const std::string path = directory + "/hugetlb." + size + file;
      if (!ControlExists(path)) continue;
      Status set = WriteControl(path, std::to_string(bytes));
      if (!set.ok()) return set;
    }
  }
  return Done{};
}

std::string RuleText(const DeviceRule& rule) {
  const auto number = [](int64_t value) {
    return value < 0 ? std::string("*") : std::to_string(value);
  };
  return std::string(1, rule.type) + " " + number(rule.major) + ":" + number(rule.minor) + " " +
         rule.access;
}

Status LimitDevices(const std::string& directory, const std::vector<DeviceRule>& rules) {
  // A new cgroup has what its parent has; rules start from nothing, as they do on v2.
  Status set = WriteControl(directory + "/devices.deny", "a");
  for (const DeviceRule& rule : rules) {
    if (!set.ok()) return set;
    const char* file = rule.allow ? "/devices.allow" : "/devices.deny";
    set = WriteControl(directory + file, rule.type == 'a' ? "a" : RuleText(rule));
  }
  return set;
}

}  // namespace

Status PrepareCgroupV1(const CgroupHierarchy& hierarchy, const std::string& directory) {
  if (!hierarchy.Has("cpuset")) return Done{};
  Status set = InheritCpuset(directory, "cpuset.cpus");
  if (!set.ok()) return set;
  return InheritCpuset(directory, "cpuset.mems");
}

Status LimitCgroupV1(const CgroupHierarchy& hierarchy, const std::string& directory,
                     const CgroupLimits& limits) {
  Status set = Done{};
  if (hierarchy.Has("cpu")) set = LimitCpu(directory, limits);
  if (set.ok() && hierarchy.Has("cpuset")) set = LimitCpuset(directory, limits);
  if (set.ok() && hierarchy.Has("memory")) set = LimitMemory(directory, limits);
  if (set.ok() && hierarchy.Has("pids") && limits.pids_limit) {
    set = WriteControl(directory + "/pids.max", *limits.pids_limit < 0
                                                    ? std::string("max")
                                                    : std::to_string(*limits.pids_limit));
  }
  if (set.ok() && hierarchy.Has("hugetlb")) set = LimitHugepages(directory, limits);
  if (set.ok() && hierarchy.Has("devices") && limits.devices) {
    set = LimitDevices(directory, *limits.devices);
  }
  return set;
}

}  // namespace cais
