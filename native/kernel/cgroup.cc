#include "kernel/cgroup.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "kernel/cgroup_v1.h"
#include "kernel/cgroup_v2.h"

namespace cais {

namespace {

// Directories that this call made, removed again unless it succeeds.
class MadeDirectories {
 public:
  ~MadeDirectories() {
    // Children before parents. A parent that somebody else uses by now refuses, rightly.
    for (auto path = made_.rbegin(); path != made_.rend(); ++path) (void)rmdir(path->c_str());
  }
  void Add(std::string path) { made_.push_back(std::move(path)); }
  void Commit() { made_.clear(); }

 private:
  std::vector<std::string> made_;
};

// Makes the cgroup with its parents in one hierarchy.
Status MakeDirectories(const CgroupHierarchy& hierarchy, const std::string& path,
                       MadeDirectories* made) {
  std::string directory = hierarchy.mountpoint;
  size_t start = 0;
  while (start != std::string::npos) {
    if (hierarchy.v2) DelegateControllersV2(hierarchy, directory);
    const size_t slash = path.find('/', start);
    directory.append("/").append(path, start, slash - start);
    start = slash == std::string::npos ? slash : slash + 1;
    if (mkdir(directory.c_str(), 0755) == 0) {
      made->Add(directory);
    } else if (errno != EEXIST) {
      return Errno("make cgroup", directory);
    }
    // Also where another process has just made it and not yet come this far.
    if (!hierarchy.v2) {
      Status prepared = PrepareCgroupV1(hierarchy, directory);
      if (!prepared.ok()) return prepared;
    }
  }
  return Done{};
}

bool HasController(const CgroupMounts& layout, const char* controller) {
  return std::any_of(layout.v1.begin(), layout.v1.end(),
                     [&](const CgroupHierarchy& one) { return one.Has(controller); });
}

// What is left for the v2 tree when v1 hierarchies have enforced theirs.
CgroupLimits LimitsLeftForV2(const CgroupMounts& layout, const CgroupLimits& limits) {
  CgroupLimits left = limits;
  if (HasController(layout, "cpu")) {
    left.cpu_shares.reset();
    left.cpu_quota_micros.reset();
    left.cpu_period_micros.reset();
  }
  if (HasController(layout, "cpuset")) {
    left.cpuset_cpus.reset();
    left.cpuset_mems.reset();
  }
  if (HasController(layout, "memory")) {
    left.memory_limit_bytes.reset();
    left.memory_swap_limit_bytes.reset();
  }
  if (HasController(layout, "pids")) left.pids_limit.reset();
  if (HasController(layout, "devices")) left.devices.reset();
  if (HasController(layout, "hugetlb")) left.hugepages.clear();
  return left;
}

// The first limit that no mounted controller enforces.
Status CheckEnforced(const CgroupMounts& layout, const CgroupLimits& limits) {
  if (layout.v2) return Done{};
  const std::pair<bool, const char*> wanted[] = {
      {limits.cpu_shares || limits.cpu_quota_micros || limits.cpu_period_micros, "cpu"},
      {limits.cpuset_cpus || limits.cpuset_mems, "cpuset"},
      {limits.memory_limit_bytes || limits.memory_swap_limit_bytes, "memory"},
      {limits.pids_limit.has_value(), "pids"},
      {limits.devices.has_value(), "devices"},
  };
  for (const auto& [set, controller] : wanted) {
    if (set && !HasController(layout, controller)) {
      return Refuse("UNSUPPORTED",
                    std::string("The cgroup controller \"") + controller + "\" is not mounted");
    }
  }
  if (limits.unified.empty()) return Done{};
  return Refuse("UNSUPPORTED",
                "\"" + limits.unified.front().first + "\" needs cgroup v2, which is not mounted");
}

Status SetLimits(const CgroupMounts& layout, const std::string& path, const CgroupLimits& limits) {
  Status set = CheckEnforced(layout, limits);
  for (const CgroupHierarchy& hierarchy : layout.v1) {
    if (set.ok()) set = LimitCgroupV1(hierarchy, hierarchy.mountpoint + "/" + path, limits);
  }
  if (set.ok() && layout.v2) {
    set = LimitCgroupV2(layout.v2->mountpoint + "/" + path, LimitsLeftForV2(layout, limits));
  }
  return set;
}

}  // namespace

Status CheckCgroupPath(const std::string& path) {
  size_t start = 0;
  bool good = !path.empty() && path.find('\n') == std::string::npos;
  while (good && start != std::string::npos) {
    const size_t slash = path.find('/', start);
    const std::string part = path.substr(start, slash - start);
    good = !part.empty() && part != "." && part != "..";
    start = slash == std::string::npos ? slash : slash + 1;
  }
  if (good) return Done{};
  return Refuse("INVALID_ARGUMENT", "\"" + path + "\" is not a relative path of a cgroup");
}

Result<std::vector<std::string>> CreateCgroup(const std::string& path, const CgroupLimits& limits) {
  Status checked = CheckCgroupPath(path);
  if (!checked.ok()) return checked.failure();
  Result<CgroupMounts> layout = ReadCgroupMounts();
  if (!layout.ok()) return layout.failure();
  MadeDirectories made;
  std::vector<std::string> directories;
  for (const CgroupHierarchy& hierarchy : layout.value().All()) {
    Status done = MakeDirectories(hierarchy, path, &made);
    if (!done.ok()) return done.failure();
    directories.push_back(hierarchy.mountpoint + "/" + path);
  }
  Status set = SetLimits(layout.value(), path, limits);
  if (!set.ok()) return set.failure();
  made.Commit();
  return directories;
}

Status UpdateCgroup(const std::string& path, const CgroupLimits& limits) {
  Status checked = CheckCgroupPath(path);
  if (!checked.ok()) return checked;
  Result<CgroupMounts> layout = ReadCgroupMounts();
  if (!layout.ok()) return layout.failure();
  return SetLimits(layout.value(), path, limits);
}

}  // namespace cais
