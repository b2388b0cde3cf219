#include "kernel/cgroup_stats.h"

#include <dirent.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "kernel/cgroup.h"
#include "kernel/control_file.h"

namespace cais {

namespace {

// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
std::optional<Pressure> ReadPressure(const std::string& path) {
  // A kernel may have the file and refuse to read it (psi=0).
  Result<std::string> text = ReadControl(path);
  if (!text.ok()) return std::nullopt;
  Pressure pressure;
  PressureLine* line = nullptr;
  for (const std::string& word : SplitWords(text.value())) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) {
      line = word == "some" ? &pressure.some : word == "full" ? &pressure.full : nullptr;
      continue;
    }
    if (line == nullptr) continue;
    const std::string key = word.substr(0, equals);
    const char* value = word.c_str() + equals + 1;
    if (key == "avg10") line->avg10 = strtod(value, nullptr);
    if (key == "avg60") line->avg60 = strtod(value, nullptr);
    if (key == "avg300") line->avg300 = strtod(value, nullptr);
    if (key == "total") line->total_micros = strtoull(value, nullptr, 10);
  }
  return pressure;
}

// `DEVNAME=vda` of the device's uevent.
std::string DeviceName(const DeviceIo& device) {
  Result<std::string> uevent = ReadControl("/sys/dev/block/" + std::to_string(device.major) + ":" +
                                           std::to_string(device.minor) + "/uevent");
  if (!uevent.ok()) return {};
  for (const std::string& word : SplitWords(uevent.value())) {
    if (word.starts_with("DEVNAME=")) return word.substr(sizeof "DEVNAME=" - 1);
  }
  return {};
}

// Where the container's processes are listed: the v2 tree when there is one, else any hierarchy.
std::string ProcessDirectory(const CgroupMounts& layout, const std::string& path) {
  const std::string& mountpoint = layout.v2 ? layout.v2->mountpoint : layout.v1.front().mountpoint;
  return mountpoint + "/" + path;
}

}  // namespace

uint64_t WorkingSet(int64_t usage, int64_t inactive_file) {
  return usage > inactive_file ? static_cast<uint64_t>(usage - inactive_file) : 0;
}

DeviceIo* FindDevice(CgroupStats* stats, const std::string& numbers) {
  DeviceIo wanted;
  if (sscanf(numbers.c_str(), "%u:%u", &wanted.major, &wanted.minor) != 2) return nullptr;
  for (DeviceIo& device : stats->devices) {
    if (device.major == wanted.major && device.minor == wanted.minor) return &device;
  }
  stats->devices.push_back(wanted);
  return &stats->devices.back();
}

std::vector<std::string> HugepageSizes(const std::string& directory, const std::string& suffix) {
  constexpr char kPrefix[] = "hugetlb.";
  std::vector<std::string> sizes;
  std::unique_ptr<DIR, int (*)(DIR*)> stream(opendir(directory.c_str()), closedir);
  while (const dirent* entry = stream ? readdir(stream.get()) : nullptr) {
    const std::string name = entry->d_name;
    if (!name.starts_with(kPrefix)) continue;
    const std::string rest = name.substr(sizeof kPrefix - 1);
    const size_t dot = rest.find('.');
    if (dot != std::string::npos && rest.substr(dot + 1) == suffix) {
      sizes.push_back(rest.substr(0, dot));
    }
  }
  return sizes;
}

Result<CgroupStats> ReadCgroupStats(const std::string& path, bool with_processes) {
  Status checked = CheckCgroupPath(path);
  if (!checked.ok()) return checked.failure();
  Result<CgroupMounts> mounts = ReadCgroupMounts();
  if (!mounts.ok()) return mounts.failure();
  const CgroupMounts& layout = mounts.value();
  CgroupStats stats;
  // v2 first: where v1 has the controller, its number is the better one.
  Status read = Done{};
  if (layout.v2) {
    const std::string directory = layout.v2->mountpoint + "/" + path;
    read = AddCgroupStatsV2(directory, &stats);
    stats.cpu_pressure = ReadPressure(directory + "/cpu.pressure");
    stats.memory_pressure = ReadPressure(directory + "/memory.pressure");
    stats.io_pressure = ReadPressure(directory + "/io.pressure");
  }
  for (const CgroupHierarchy& hierarchy : layout.v1) {
    if (read.ok()) read = AddCgroupStatsV1(hierarchy, hierarchy.mountpoint + "/" + path, &stats);
  }
  if (!read.ok()) return read.failure();
  for (DeviceIo& device : stats.devices) device.name = DeviceName(device);
  if (with_processes) {
    Result<ProcessCounts> counts = CountProcesses(ProcessDirectory(layout, path));
    if (!counts.ok()) return counts.failure();
    stats.processes = counts.value();
  }
  return stats;
}

}  // namespace cais
