#include "addon/async_task.h"
#include "addon/cgroup_binding.h"
#include "addon/napi_args.h"
#include "kernel/cgroup_processes.h"
#include "kernel/cgroup_stats.h"

namespace cais {

namespace {

void SetNumber(Napi::Object object, const char* name, double value) { object.Set(name, value); }

template <typename T>
void SetCount(Napi::Object object, const char* name, T value) {
  SetNumber(object, name, static_cast<double>(value));
}

Napi::Object LineObject(Napi::Env env, const PressureLine& line) {
  Napi::Object object = Napi::Object::New(env);
  SetNumber(object, "avg10", line.avg10);
  SetNumber(object, "avg60", line.avg60);
  SetNumber(object, "avg300", line.avg300);
  SetCount(object, "totalMicros", line.total_micros);
  return object;
}

void SetPressure(Napi::Object object, const char* name, const std::optional<Pressure>& pressure) {
  if (!pressure) return;
  Napi::Env env = object.Env();
  Napi::Object both = Napi::Object::New(env);
  both.Set("some", LineObject(env, pressure->some));
  both.Set("full", LineObject(env, pressure->full));
  object.Set(name, both);
}

Napi::Array DeviceArray(Napi::Env env, const std::vector<DeviceIo>& devices) {
  Napi::Array array = Napi::Array::New(env, devices.size());
  for (uint32_t i = 0; i < devices.size(); ++i) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("name", devices[i].name);
    SetCount(object, "major", devices[i].major);
    SetCount(object, "minor", devices[i].minor);
    SetCount(object, "readBytes", devices[i].read_bytes);
    SetCount(object, "writeBytes", devices[i].write_bytes);
    SetCount(object, "reads", devices[i].reads);
    SetCount(object, "writes", devices[i].writes);
    array.Set(i, object);
  }
  return array;
}

Napi::Array HugepageArray(Napi::Env env, const std::vector<HugepageUsage>& hugepages) {
  Napi::Array array = Napi::Array::New(env, hugepages.size());
  for (uint32_t i = 0; i < hugepages.size(); ++i) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("pageSize", hugepages[i].page_size);
    SetCount(object, "usageBytes", hugepages[i].usage_bytes);
    SetCount(object, "maxUsageBytes", hugepages[i].max_usage_bytes);
    SetCount(object, "failures", hugepages[i].failures);
    array.Set(i, object);
  }
  return array;
}

Napi::Object StatsObject(Napi::Env env, const CgroupStats& stats) {
  Napi::Object result = Napi::Object::New(env);
  const auto set = [&](const char* name, auto value) { SetCount(result, name, value); };
  set("cpuUsageNanos", stats.cpu_usage_nanos);
  set("cpuUserNanos", stats.cpu_user_nanos);
  set("cpuSystemNanos", stats.cpu_system_nanos);
  set("cpuPeriods", stats.cpu_periods);
  set("cpuThrottledPeriods", stats.cpu_throttled_periods);
  set("cpuThrottledNanos", stats.cpu_throttled_nanos);
  set("memoryUsageBytes", stats.memory_usage_bytes);
  set("memoryWorkingSetBytes", stats.memory_working_set_bytes);
  set("memoryLimitBytes", stats.memory_limit_bytes);
  set("memoryRssBytes", stats.memory_rss_bytes);
  set("memoryCacheBytes", stats.memory_cache_bytes);
  set("memoryMappedFileBytes", stats.memory_mapped_file_bytes);
  set("memoryKernelBytes", stats.memory_kernel_bytes);
  set("memorySwapBytes", stats.memory_swap_bytes);
  set("memorySwapLimitBytes", stats.memory_swap_limit_bytes);
  set("memoryMaxUsageBytes", stats.memory_max_usage_bytes);
  set("memoryFailures", stats.memory_failures);
  set("pageFaults", stats.page_faults);
  set("majorPageFaults", stats.major_page_faults);
  set("pids", stats.pids);
  set("pidsLimit", stats.pids_limit);
  set("oomKills", stats.oom_kills);
  result.Set("devices", DeviceArray(env, stats.devices));
  result.Set("hugepages", HugepageArray(env, stats.hugepages));
  SetPressure(result, "cpuPressure", stats.cpu_pressure);
  SetPressure(result, "memoryPressure", stats.memory_pressure);
  SetPressure(result, "ioPressure", stats.io_pressure);
  if (stats.processes) {
    Napi::Object counts = Napi::Object::New(env);
    SetCount(counts, "processes", stats.processes->processes);
    SetCount(counts, "threads", stats.processes->threads);
    SetCount(counts, "descriptors", stats.processes->descriptors);
    SetCount(counts, "sockets", stats.processes->sockets);
    SetCount(counts, "openFilesSoftLimit", stats.processes->open_files_soft_limit);
    result.Set("processes", counts);
  }
  return result;
}

}  // namespace

Napi::Value ReadCgroupStats(const Napi::CallbackInfo& info) {
  Args args(info);
  const std::string path = args.At(0, "path").Text();
  const Arg options = args.At(1, "options");
  const bool processes = !options.absent() && options.Field("processes").Boolean();
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync<CgroupStats>(
      info.Env(), [path, processes] { return ReadCgroupStats(path, processes); },
      [](Napi::Env env, CgroupStats& stats) -> Napi::Value { return StatsObject(env, stats); });
}

Napi::Value SetOomScore(const Napi::CallbackInfo& info) {
  Args args(info);
  const std::string path = args.At(0, "path").Text();
  const int score = static_cast<int>(args.At(1, "score").Integer(-1000, 1000));
  if (!args.ok()) return info.Env().Undefined();
  return RunAsync(info.Env(), [path, score] { return SetOomScore(path, score); });
}

}  // namespace cais
