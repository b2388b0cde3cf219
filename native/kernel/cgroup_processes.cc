#include "kernel/cgroup_processes.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <set>

#include "kernel/cgroup.h"
#include "kernel/control_file.h"

namespace cais {

namespace {

// Bounds for what a container may have made of its own cgroup and descriptors.
constexpr size_t kMaxCgroups = 4096;
constexpr uint64_t kMaxDescriptors = 1'000'000;

using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;

Directory OpenDirectory(const std::string& path) {
  return Directory(opendir(path.c_str()), closedir);
}

bool IsGone(const Failure& failure) {
  return failure.error == ENOENT || failure.error == ENODEV || failure.error == ESRCH;
}

void CountDescriptors(const std::string& process, ProcessCounts* counts) {
  Directory stream = OpenDirectory(process + "/fd");
  while (const dirent* entry = stream ? readdir(stream.get()) : nullptr) {
    if (entry->d_name[0] == '.' || counts->descriptors >= kMaxDescriptors) continue;
    ++counts->descriptors;
    char target[16];
    const ssize_t length = readlinkat(dirfd(stream.get()), entry->d_name, target, sizeof target);
    constexpr std::string_view kSocket = "socket:";
    const std::string_view shown(target, length > 0 ? static_cast<size_t>(length) : 0);
    if (shown.starts_with(kSocket)) ++counts->sockets;
  }
}

// A process of the container may raise its own score again and again.
constexpr int kMaxScoreRounds = 10;
// From a fork's copy of the score until the new process is in its cgroup, with room to spare: some
// 100 us and 15 ms for each GiB of small pages, more where it loses its processor in between.
constexpr useconds_t kForkMicros = 100'000;

enum class ScoreStep : uint8_t { kHadIt, kChanged, kRefused, kGone };

Result<ScoreStep> GiveScore(pid_t pid, int score) {
  const std::string file = "/proc/" + std::to_string(pid) + "/oom_score_adj";
  Result<int64_t> current = ReadControlNumber(file);
  if (current.ok() && current.value() == score) return ScoreStep::kHadIt;
  Status written = current.ok() ? WriteControl(file, std::to_string(score)) : current.failure();
  if (written.ok()) return ScoreStep::kChanged;
  if (IsGone(written.failure())) return ScoreStep::kGone;
  const int error = written.failure().error;
  if (error == EACCES || error == EPERM) return ScoreStep::kRefused;
  return written.failure();
}

}  // namespace

Result<std::vector<pid_t>> ListProcesses(const std::string& directory) {
  std::vector<pid_t> pids;
  std::vector<std::string> cgroups = {directory};
  for (size_t i = 0; i < cgroups.size() && i < kMaxCgroups; ++i) {
    const std::string current = cgroups[i];
    Result<std::string> listed = ReadControl(current + "/cgroup.procs");
    if (!listed.ok() && (i == 0 || !IsGone(listed.failure()))) {
      // A threaded cgroup lists its processes in its parent.
      if (listed.failure().error == EOPNOTSUPP) continue;
      return listed.failure();
    }
    if (listed.ok()) {
      for (const std::string& word : SplitWords(listed.value())) {
        const pid_t pid = atoi(word.c_str());
        if (pid > 0) pids.push_back(pid);
      }
    }
    Directory stream = OpenDirectory(current);
    while (const dirent* entry = stream ? readdir(stream.get()) : nullptr) {
      if (entry->d_type != DT_DIR || entry->d_name[0] == '.') continue;
      cgroups.push_back(current + "/" + entry->d_name);
    }
  }
  return pids;
}

Result<ProcessCounts> CountProcesses(const std::string& directory) {
  Result<std::vector<pid_t>> pids = ListProcesses(directory);
  if (!pids.ok()) return pids.failure();
  ProcessCounts counts;
  for (const pid_t pid : pids.value()) {
    const std::string process = "/proc/" + std::to_string(pid);
    struct stat tasks;
    // Two links more than threads.
    if (stat((process + "/task").c_str(), &tasks) != 0 || tasks.st_nlink < 3) continue;
    if (counts.processes++ == 0) {
      rlimit limit = {};
      if (prlimit(pid, RLIMIT_NOFILE, nullptr, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        counts.open_files_soft_limit = static_cast<int64_t>(limit.rlim_cur);
      }
    }
    counts.threads += tasks.st_nlink - 2;
    CountDescriptors(process, &counts);
  }
  return counts;
}

Status SetOomScore(const std::string& path, int score) {
  Status checked = CheckCgroupPath(path);
  if (!checked.ok()) return checked;
  Result<CgroupMounts> layout = ReadCgroupMounts();
  if (!layout.ok()) return layout.failure();
  const std::string directory = layout.value().All().back().mountpoint + "/" + path;
  std::set<pid_t> kept;
  for (int round = 0; round < kMaxScoreRounds; ++round) {
    Result<std::vector<pid_t>> pids = ListProcesses(directory);
    // All have ended meanwhile.
    if (!pids.ok() && round > 0 && IsGone(pids.failure())) break;
    if (!pids.ok()) return pids.failure();
    bool changed = false;
    for (const pid_t pid : pids.value()) {
      if (kept.contains(pid)) continue;
      Result<ScoreStep> step = GiveScore(pid, score);
      if (!step.ok()) return step.failure();
      if (step.value() == ScoreStep::kRefused) kept.insert(pid);
      if (step.value() == ScoreStep::kChanged) changed = true;
    }
    if (!changed) break;
    usleep(kForkMicros);
  }
  return Done{};
}

}  // namespace cais
