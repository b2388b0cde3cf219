#include <unistd.h>

#include "kernel/cgroup_stats.h"
#include "kernel/control_file.h"

namespace cais {

namespace {

// "No limit" is the largest whole number of pages here.
constexpr int64_t kUnlimited = int64_t{1} << 62;
constexpr uint64_t kNanosPerSecond = 1'000'000'000;

uint64_t Unsigned(int64_t value) { return value > 0 ? static_cast<uint64_t>(value) : 0; }

// 0 for a file that this kernel does not have.
uint64_t OptionalNumber(const std::string& path) {
  if (!ControlExists(path)) return 0;
  Result<int64_t> number = ReadControlNumber(path);
  return number.ok() ? Unsigned(number.value()) : 0;
}

Status AddCpuTime(const std::string& directory, CgroupStats* stats) {
  Result<int64_t> usage = ReadControlNumber(directory + "/cpuacct.usage");
  if (!usage.ok()) return usage.failure();
  stats->cpu_usage_nanos = Unsigned(usage.value());
  if (ControlExists(directory + "/cpuacct.usage_user")) {
    stats->cpu_user_nanos = OptionalNumber(directory + "/cpuacct.usage_user");
    stats->cpu_system_nanos = OptionalNumber(directory + "/cpuacct.usage_sys");
    return Done{};
  }
  Result<FlatKeys> ticks = ReadControlKeys(directory + "/cpuacct.stat");
  if (!ticks.ok()) return ticks.failure();
  const uint64_t nanos_per_tick = kNanosPerSecond / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  stats->cpu_user_nanos = Unsigned(KeyValue(ticks.value(), "user")) * nanos_per_tick;
  stats->cpu_system_nanos = Unsigned(KeyValue(ticks.value(), "system")) * nanos_per_tick;
  return Done{};
}

Status AddThrottling(const std::string& directory, CgroupStats* stats) {
  Result<FlatKeys> keys = ReadControlKeys(directory + "/cpu.stat");
  if (!keys.ok()) return keys.failure();
  stats->cpu_periods = Unsigned(KeyValue(keys.value(), "nr_periods"));
  stats->cpu_throttled_periods = Unsigned(KeyValue(keys.value(), "nr_throttled"));
  stats->cpu_throttled_nanos = Unsigned(KeyValue(keys.value(), "throttled_time"));
  return Done{};
}

Status AddMemory(const std::string& directory, CgroupStats* stats) {
  Result<int64_t> usage = ReadControlNumber(directory + "/memory.usage_in_bytes");
  if (!usage.ok()) return usage.failure();
  Result<FlatKeys> details = ReadControlKeys(directory + "/memory.stat");
  if (!details.ok()) return details.failure();
  Result<int64_t> limit = ReadControlNumber(directory + "/memory.limit_in_bytes");
  if (!limit.ok()) return limit.failure();
  Result<FlatKeys> kills = ReadControlKeys(directory + "/memory.oom_control");
  if (!kills.ok()) return kills.failure();
  const auto detail = [&details](const char* name) {
    return Unsigned(KeyValue(details.value(), name));
  };
  stats->memory_usage_bytes = Unsigned(usage.value());
  stats->memory_working_set_bytes =
      WorkingSet(usage.value(), KeyValue(details.value(), "total_inactive_file"));
  stats->memory_limit_bytes = limit.value() >= kUnlimited ? -1 : limit.value();
  stats->memory_rss_bytes = detail("total_rss");
  stats->memory_cache_bytes = detail("total_cache");
  stats->memory_mapped_file_bytes = detail("total_mapped_file");
  stats->memory_swap_bytes = detail("total_swap");
  stats->page_faults = detail("total_pgfault");
  stats->major_page_faults = detail("total_pgmajfault");
  stats->memory_kernel_bytes = OptionalNumber(directory + "/memory.kmem.usage_in_bytes");
  stats->memory_max_usage_bytes = OptionalNumber(directory + "/memory.max_usage_in_bytes");
  stats->memory_failures = OptionalNumber(directory + "/memory.failcnt");
  stats->oom_kills = Unsigned(KeyValue(kills.value(), "oom_kill"));
  const int64_t together =
      static_cast<int64_t>(OptionalNumber(directory + "/memory.memsw.limit_in_bytes"));
  const bool limits_swap = together > 0 && together < kUnlimited && stats->memory_limit_bytes >= 0;
  if (limits_swap) stats->memory_swap_limit_bytes = together - stats->memory_limit_bytes;
  return Done{};
}

// `253:0 Read 4096` lines. Which files count depends on the I/O scheduler; the first that has
// something is taken.
void AddBlockFile(const std::string& directory, const char* const (&files)[4],
                  uint64_t DeviceIo::*reads, uint64_t DeviceIo::*writes, CgroupStats* stats) {
  for (const char* file : files) {
    Result<std::string> text = ReadControl(directory + "/" + file);
    if (!text.ok()) continue;
    const std::vector<std::string> words = SplitWords(text.value());
    bool found = false;
    for (size_t i = 0; i + 2 < words.size(); ++i) {
      const bool read = words[i + 1] == "Read";
      if (!read && words[i + 1] != "Write") continue;
      DeviceIo* device = FindDevice(stats, words[i]);
      if (device == nullptr) continue;
      device->*(read ? reads : writes) = strtoull(words[i + 2].c_str(), nullptr, 10);
      found = true;
    }
    if (found) return;
  }
}

void AddBlockIo(const std::string& directory, CgroupStats* stats) {
  constexpr const char* kBytes[] = {
      "blkio.throttle.io_service_bytes_recursive", "blkio.bfq.io_service_bytes_recursive",
      "blkio.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"};
  constexpr const char* kOperations[] = {
      "blkio.throttle.io_serviced_recursive", "blkio.bfq.io_serviced_recursive",
      "blkio.io_serviced_recursive", "blkio.throttle.io_serviced"};
  AddBlockFile(directory, kBytes, &DeviceIo::read_bytes, &DeviceIo::write_bytes, stats);
  AddBlockFile(directory, kOperations, &DeviceIo::reads, &DeviceIo::writes, stats);
}

void AddHugepages(const std::string& directory, CgroupStats* stats) {
  for (const std::string& size : HugepageSizes(directory, "usage_in_bytes")) {
    const std::string prefix = directory + "/hugetlb." + size;
    stats->hugepages.push_back({size, OptionalNumber(prefix + ".usage_in_bytes"),
                                OptionalNumber(prefix + ".max_usage_in_bytes"),
                                OptionalNumber(prefix + ".failcnt")});
  }
}

}  // namespace

Status AddCgroupStatsV1(const CgroupHierarchy& hierarchy, const std::string& directory,
                        CgroupStats* stats) {
  Status added = Done{};
  if (hierarchy.Has("cpuacct")) added = AddCpuTime(directory, stats);
  if (added.ok() && hierarchy.Has("cpu")) added = AddThrottling(directory, stats);
  if (added.ok() && hierarchy.Has("memory")) added = AddMemory(directory, stats);
  if (added.ok() && hierarchy.Has("blkio")) AddBlockIo(directory, stats);
  if (added.ok() && hierarchy.Has("hugetlb")) AddHugepages(directory, stats);
  if (!added.ok() || !hierarchy.Has("pids")) return added;
  Result<int64_t> count = ReadControlNumber(directory + "/pids.current");
  if (!count.ok()) return count.failure();
  Result<int64_t> limit = ReadControlNumber(directory + "/pids.max");
  if (!limit.ok()) return limit.failure();
  stats->pids = Unsigned(count.value());
  stats->pids_limit = limit.value();
  return Done{};
}

}  // namespace cais
