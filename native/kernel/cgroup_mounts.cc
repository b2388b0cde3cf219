#include "kernel/cgroup_mounts.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "kernel/control_file.h"

namespace cais {

namespace {

constexpr const char* kV1Controllers[] = {"cpu",     "cpuacct", "cpuset",   "memory",     "devices",
                                          "freezer", "net_cls", "net_prio", "perf_event", "hugetlb",
                                          "pids",    "blkio",   "rdma",     "misc"};

// The mount table writes space, tab, newline and backslash as \ooo.
std::string Unescape(const std::string& text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      result += static_cast<char>(((text[i + 1] - '0') << 6) | ((text[i + 2] - '0') << 3) |
                                  (text[i + 3] - '0'));
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

std::vector<std::string> ControllersOf(const std::string& super_options) {
  std::vector<std::string> controllers;
  std::istringstream options(super_options);
  for (std::string option; std::getline(options, option, ',');) {
    const bool known = std::any_of(std::begin(kV1Controllers), std::end(kV1Controllers),
                                   [&](const char* name) { return option == name; });
    if (known || option.starts_with("name=")) controllers.push_back(option);
  }
  return controllers;
}

}  // namespace

bool CgroupHierarchy::Has(const char* controller) const {
  return std::find(controllers.begin(), controllers.end(), controller) != controllers.end();
}

std::vector<CgroupHierarchy> CgroupMounts::All() const {
  std::vector<CgroupHierarchy> all = v1;
  if (v2) all.push_back(*v2);
  return all;
}

CgroupMounts ParseCgroupMounts(const std::string& mountinfo) {
  CgroupMounts layout;
  std::set<std::string> seen;  // devices: one hierarchy may be mounted more than once
  std::istringstream lines(mountinfo);
  for (std::string line; std::getline(lines, line);) {
    // id parent major:minor root mountpoint options [tags] - type source super-options
    const std::vector<std::string> words = SplitWords(line);
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 9 || words.end() - dash < 4) continue;
    const std::string& type = *(dash + 1);
    if (type != "cgroup" && type != "cgroup2") continue;
    if (!seen.insert(words[2]).second) continue;
    CgroupHierarchy hierarchy;
    hierarchy.v2 = type == "cgroup2";
    hierarchy.mountpoint = Unescape(words[4]);
    if (hierarchy.v2) {
      if (!layout.v2) layout.v2 = std::move(hierarchy);
      continue;
    }
    hierarchy.controllers = ControllersOf(*(dash + 3));
    if (!hierarchy.controllers.empty()) layout.v1.push_back(std::move(hierarchy));
  }
  return layout;
}

Result<CgroupMounts> ReadCgroupMounts() {
  Result<std::string> mounts = ReadControl("/proc/self/mountinfo");
  if (!mounts.ok()) return mounts.failure();
  CgroupMounts layout = ParseCgroupMounts(mounts.value());
  if (layout.v2) {
    Result<std::string> controllers = ReadControl(layout.v2->mountpoint + "/cgroup.controllers");
    if (!controllers.ok()) return controllers.failure();
    layout.v2->controllers = SplitWords(controllers.value());
  }
  if (!layout.v2 && layout.v1.empty()) {
    return Refuse("UNSUPPORTED", "No cgroup hierarchy is mounted: mount cgroup2 at /sys/fs/cgroup");
  }
  return layout;
}

}  // namespace cais
