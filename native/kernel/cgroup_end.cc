// How a cgroup ends: KillCgroup and RemoveCgroup of cgroup.h.

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <memory>

#include "kernel/cgroup.h"
#include "kernel/control_file.h"

namespace cais {

namespace {

using Clock = std::chrono::steady_clock;

constexpr useconds_t kFirstPauseMicros = 500;
constexpr useconds_t kLongestPauseMicros = 20'000;

struct DirectoryCloser {
  void operator()(DIR* directory) const { (void)closedir(directory); }
};

// Tries with growing pauses until `done` or the deadline.
class Retry {
 public:
  Retry(int64_t timeout_ms, const std::function<bool()>& abandoned)
      : deadline_(Clock::now() + std::chrono::milliseconds(timeout_ms)), abandoned_(abandoned) {}

  // False: no time is left.
  bool Pause() {
    if (Clock::now() >= deadline_ || (abandoned_ && abandoned_())) return false;
    usleep(pause_micros_);
    pause_micros_ = std::min(pause_micros_ * 2, kLongestPauseMicros);
    return true;
  }

 private:
  Clock::time_point deadline_;
  const std::function<bool()>& abandoned_;
  useconds_t pause_micros_ = kFirstPauseMicros;
};

// The cgroup and all below it, children after their parents; none when it does not exist.
std::vector<std::string> Subtree(const std::string& directory) {
  std::vector<std::string> all;
  if (ControlExists(directory)) all.push_back(directory);
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string parent = all[i];
    std::unique_ptr<DIR, DirectoryCloser> stream(opendir(parent.c_str()));
    if (stream == nullptr) continue;
    while (const dirent* entry = readdir(stream.get())) {
      const std::string name = entry->d_name;
      if (entry->d_type == DT_DIR && name != "." && name != "..")
        all.push_back(parent + "/" + name);
    }
  }
  return all;
}

// Sends SIGKILL to what a hierarchy lists in the subtree. True: it lists nothing.
Result<bool> KillListed(const std::string& directory) {
  bool empty = true;
  for (const std::string& cgroup : Subtree(directory)) {
    Result<std::string> listed = ReadControl(cgroup + "/cgroup.procs");
    // Removed meanwhile.
    if (!listed.ok() && (listed.failure().error == ENOENT || listed.failure().error == ENODEV)) {
      continue;
    }
    if (!listed.ok()) return listed.failure();
    for (const std::string& word : SplitWords(listed.value())) {
      const pid_t pid = atoi(word.c_str());
      empty = false;
      // 0 is a process of another pid namespace: it has no number here, and no signal reaches it.
      if (pid > 0) (void)kill(pid, SIGKILL);
    }
  }
  return empty;
}

void SetFrozen(const std::string& directory, const char* state) {
  for (const std::string& cgroup : Subtree(directory)) {
    (void)WriteControl(cgroup + "/freezer.state", state);
  }
}

// cgroup.kill reaches every process of the subtree at once, forks in progress too. True: there is
// a v2 cgroup and it did.
bool KillByFile(const CgroupMounts& layout, const std::string& path) {
  if (!layout.v2) return false;
  const std::string file = layout.v2->mountpoint + "/" + path + "/cgroup.kill";
  return WriteControl(file, "1").ok();
}

// Reads what is left in every hierarchy and kills it; processes that fork faster than they are
// found are held by the freezer meanwhile.
Result<bool> KillEverywhere(const CgroupMounts& layout, const std::string& path) {
  const bool by_file = KillByFile(layout, path);
  for (const CgroupHierarchy& hierarchy : layout.v1) {
    if (hierarchy.Has("freezer") && !by_file) {
      SetFrozen(hierarchy.mountpoint + "/" + path, "FROZEN");
    }
  }
  bool empty = true;
  Status failed = Done{};
  for (const CgroupHierarchy& hierarchy : layout.All()) {
    Result<bool> none = KillListed(hierarchy.mountpoint + "/" + path);
    if (!none.ok()) failed = none.failure();
    if (none.ok() && !none.value()) empty = false;
  }
  // Thawed always: a frozen process does not die, also where somebody else had frozen it.
  for (const CgroupHierarchy& hierarchy : layout.v1) {
    if (hierarchy.Has("freezer")) SetFrozen(hierarchy.mountpoint + "/" + path, "THAWED");
  }
  if (!failed.ok()) return failed.failure();
  return empty;
}

}  // namespace

Status KillCgroup(const std::string& path, int64_t timeout_ms,
                  const std::function<bool()>& abandoned) {
  Status checked = CheckCgroupPath(path);
  if (!checked.ok()) return checked;
  Result<CgroupMounts> layout = ReadCgroupMounts();
  if (!layout.ok()) return layout.failure();
  Retry retry(timeout_ms, abandoned);
  for (;;) {
    Result<bool> empty = KillEverywhere(layout.value(), path);
    if (!empty.ok()) return empty.failure();
    if (empty.value()) return Done{};
    if (!retry.Pause()) {
      return Refuse("TIMED_OUT", "Processes in the cgroup \"" + path + "\" are still there " +
                                     std::to_string(timeout_ms) + " ms after SIGKILL");
    }
  }
}

Status RemoveCgroup(const std::string& path, const std::function<bool()>& abandoned) {
  Status checked = CheckCgroupPath(path);
  if (!checked.ok()) return checked;
  Result<CgroupMounts> layout = ReadCgroupMounts();
  if (!layout.ok()) return layout.failure();
  Retry retry(kRemoveTimeoutMs, abandoned);
  for (const CgroupHierarchy& hierarchy : layout.value().All()) {
    const std::vector<std::string> cgroups = Subtree(hierarchy.mountpoint + "/" + path);
    for (auto cgroup = cgroups.rbegin(); cgroup != cgroups.rend(); ++cgroup) {
      while (rmdir(cgroup->c_str()) != 0 && errno != ENOENT && errno != ENODEV) {
        const Failure failure = Errno("remove cgroup", *cgroup);
        if (failure.error != EBUSY || !retry.Pause()) return failure;
      }
    }
  }
  return Done{};
}

}  // namespace cais
