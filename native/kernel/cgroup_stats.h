#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernel/cgroup_mounts.h"
#include "kernel/cgroup_processes.h"
#include "kernel/result.h"

namespace cais {

// Time in which some, or all, tasks waited (Documentation/accounting/psi.rst). Averages in percent.
struct PressureLine {
  double avg10 = 0;
  double avg60 = 0;
  double avg300 = 0;
  uint64_t total_micros = 0;
};

struct Pressure {
  PressureLine some;
  PressureLine full;
};

struct DeviceIo {
  unsigned major = 0;
  unsigned minor = 0;
  std::string name;  // `vda`; empty when the kernel no longer knows the device
  uint64_t read_bytes = 0;
  uint64_t write_bytes = 0;
  uint64_t reads = 0;
  uint64_t writes = 0;
};

struct HugepageUsage {
  std::string page_size;  // `2MB`
  uint64_t usage_bytes = 0;
  uint64_t max_usage_bytes = 0;
  uint64_t failures = 0;
};

// What one cgroup and those below it use. Of a controller that is not there: 0 or nothing.
struct CgroupStats {
  uint64_t cpu_usage_nanos = 0;
  uint64_t cpu_user_nanos = 0;
  uint64_t cpu_system_nanos = 0;
  uint64_t cpu_periods = 0;
  uint64_t cpu_throttled_periods = 0;
  uint64_t cpu_throttled_nanos = 0;
  uint64_t memory_usage_bytes = 0;
  uint64_t memory_working_set_bytes = 0;
  int64_t memory_limit_bytes = -1;  // -1: none
  uint64_t memory_rss_bytes = 0;
  uint64_t memory_cache_bytes = 0;
  uint64_t memory_mapped_file_bytes = 0;
  uint64_t memory_kernel_bytes = 0;
  uint64_t memory_swap_bytes = 0;
  int64_t memory_swap_limit_bytes = -1;  // of swap alone; -1: none
  uint64_t memory_max_usage_bytes = 0;
  uint64_t memory_failures = 0;  // how often the limit was met
  uint64_t page_faults = 0;
  uint64_t major_page_faults = 0;
  uint64_t pids = 0;
  int64_t pids_limit = -1;  // -1: none
  uint64_t oom_kills = 0;
  std::vector<DeviceIo> devices;
  std::vector<HugepageUsage> hugepages;
  std::optional<Pressure> cpu_pressure;
  std::optional<Pressure> memory_pressure;
  std::optional<Pressure> io_pressure;
  std::optional<ProcessCounts> processes;
};

// `path` as in cgroup.h. Processes are counted only when asked for: that opens several files of
// each.
Result<CgroupStats> ReadCgroupStats(const std::string& path, bool with_processes);

// Fill in what the controllers of one hierarchy count.
Status AddCgroupStatsV1(const CgroupHierarchy& hierarchy, const std::string& directory,
                        CgroupStats* stats);
Status AddCgroupStatsV2(const std::string& directory, CgroupStats* stats);

// Working set as everybody computes it: what is used without the file pages that have not been
// touched for a while.
uint64_t WorkingSet(int64_t usage, int64_t inactive_file);

// The entry of a device, made when there is none.
DeviceIo* FindDevice(CgroupStats* stats, const std::string& numbers);

// Sizes (`2MB`) for which the directory has files `hugetlb.<size>.<suffix>`.
std::vector<std::string> HugepageSizes(const std::string& directory, const std::string& suffix);

}  // namespace cais
