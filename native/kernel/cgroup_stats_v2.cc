#include "kernel/cgroup_stats.h"
#include "kernel/control_file.h"

namespace cais {

namespace {

constexpr uint64_t kNanosPerMicro = 1000;

uint64_t Unsigned(int64_t value) { return value > 0 ? static_cast<uint64_t>(value) : 0; }

// 0 for a file that this kernel does not have.
uint64_t OptionalNumber(const std::string& path) {
  if (!ControlExists(path)) return 0;
  Result<int64_t> number = ReadControlNumber(path);
  return number.ok() ? Unsigned(number.value()) : 0;
}

Status AddCpu(const std::string& directory, CgroupStats* stats) {
  Result<FlatKeys> keys = ReadControlKeys(directory + "/cpu.stat");
  if (!keys.ok()) return keys.failure();
  const auto value = [&keys](const char* name) { return Unsigned(KeyValue(keys.value(), name)); };
  stats->cpu_usage_nanos = value("usage_usec") * kNanosPerMicro;
  stats->cpu_user_nanos = value("user_usec") * kNanosPerMicro;
  stats->cpu_system_nanos = value("system_usec") * kNanosPerMicro;
  stats->cpu_periods = value("nr_periods");
  stats->cpu_throttled_periods = value("nr_throttled");
  stats->cpu_throttled_nanos = value("throttled_usec") * kNanosPerMicro;
  return Done{};
}

Status AddMemory(const std::string& directory, CgroupStats* stats) {
  Result<int64_t> usage = ReadControlNumber(directory + "/memory.current");
  if (!usage.ok()) return usage.failure();
  Result<FlatKeys> details = ReadControlKeys(directory + "/memory.stat");
  if (!details.ok()) return details.failure();
  Result<int64_t> limit = ReadControlNumber(directory + "/memory.max");
  if (!limit.ok()) return limit.failure();
  Result<FlatKeys> events = ReadControlKeys(directory + "/memory.events");
  if (!events.ok()) return events.failure();
  const auto detail = [&details](const char* name) {
    return Unsigned(KeyValue(details.value(), name));
  };
  stats->memory_usage_bytes = Unsigned(usage.value());
  stats->memory_working_set_bytes =
      WorkingSet(usage.value(), KeyValue(details.value(), "inactive_file"));
  stats->memory_limit_bytes = limit.value();
  stats->memory_rss_bytes = detail("anon");
  stats->memory_cache_bytes = detail("file");
  stats->memory_mapped_file_bytes = detail("file_mapped");
  stats->memory_kernel_bytes = detail("kernel");
  stats->page_faults = detail("pgfault");
  stats->major_page_faults = detail("pgmajfault");
  stats->memory_swap_bytes = OptionalNumber(directory + "/memory.swap.current");
  stats->memory_max_usage_bytes = OptionalNumber(directory + "/memory.peak");
  stats->memory_failures = Unsigned(KeyValue(events.value(), "max"));
  stats->oom_kills = Unsigned(KeyValue(events.value(), "oom_kill"));
  if (ControlExists(directory + "/memory.swap.max")) {
    Result<int64_t> swap = ReadControlNumber(directory + "/memory.swap.max");
    if (swap.ok()) stats->memory_swap_limit_bytes = swap.value();
  }
  return Done{};
}

// `253:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`, a device a line.
void AddIo(const std::string& directory, CgroupStats* stats) {
  Result<std::string> text = ReadControl(directory + "/io.stat");
  if (!text.ok()) return;
  DeviceIo* device = nullptr;
  for (const std::string& word : SplitWords(text.value())) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) {
      device = FindDevice(stats, word);
      continue;
    }
    if (device == nullptr) continue;
    const std::string key = word.substr(0, equals);
    const uint64_t value = strtoull(word.c_str() + equals + 1, nullptr, 10);
    if (key == "rbytes") device->read_bytes = value;
    if (key == "wbytes") device->write_bytes = value;
    if (key == "rios") device->reads = value;
    if (key == "wios") device->writes = value;
  }
}

void AddHugepages(const std::string& directory, CgroupStats* stats) {
  for (const std::string& size : HugepageSizes(directory, "current")) {
    const std::string prefix = directory + "/hugetlb." + size;
    HugepageUsage usage;
    usage.page_size = size;
    usage.usage_bytes = OptionalNumber(prefix + ".current");
    Result<FlatKeys> events = ReadControlKeys(prefix + ".events");
    if (events.ok()) usage.failures = Unsigned(KeyValue(events.value(), "max"));
    stats->hugepages.push_back(std::move(usage));
  }
}

}  // namespace

Status AddCgroupStatsV2(const std::string& directory, CgroupStats* stats) {
  // cpu.stat is there in every cgroup, the other files only with their controllers.
  Status added = AddCpu(directory, stats);
  if (added.ok() && ControlExists(directory + "/memory.current")) {
    added = AddMemory(directory, stats);
  }
  if (!added.ok()) return added;
  AddIo(directory, stats);
  AddHugepages(directory, stats);
  if (!ControlExists(directory + "/pids.current")) return Done{};
  Result<int64_t> count = ReadControlNumber(directory + "/pids.current");
  if (!count.ok()) return count.failure();
  Result<int64_t> limit = ReadControlNumber(directory + "/pids.max");
  if (!limit.ok()) return limit.failure();
  stats->pids = Unsigned(count.value());
  stats->pids_limit = limit.value();
  return Done{};
}

}  // namespace cais
