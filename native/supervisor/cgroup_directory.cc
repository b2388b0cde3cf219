#include "supervisor/cgroup_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include "kernel/unique_fd.h"

namespace cais {

namespace {

// Bounds for a tree that a container may have filled with sub-cgroups.
constexpr int kMaxDepth = 32;
constexpr size_t kMaxFileBytes = 1 << 20;
// Freezing is asynchronous; each look waits this long.
constexpr int kMaxFreezeLooks = 100;
constexpr timespec kFreezePause = {0, 1'000'000};

bool WriteFile(const std::string& path, const char* text) {
  UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return file && write(file.get(), text, strlen(text)) >= 0;
}

std::string ReadFile(const std::string& path) {
  UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  char piece[4096];
  while (file && text.size() < kMaxFileBytes) {
    const ssize_t count = read(file.get(), piece, sizeof piece);
    if (count <= 0) break;
    text.append(piece, static_cast<size_t>(count));
  }
  return text;
}

std::vector<std::string> Children(const std::string& directory) {
  std::vector<std::string> children;
  std::unique_ptr<DIR, int (*)(DIR*)> stream(opendir(directory.c_str()), closedir);
  while (const dirent* entry = stream ? readdir(stream.get()) : nullptr) {
    const std::string name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..") {
      children.push_back(directory + "/" + name);
    }
  }
  return children;
}

// How many processes were signalled.
int SignalTree(const std::string& directory, int depth = 0) {
  int signalled = 0;
  const std::string processes = ReadFile(directory + "/cgroup.procs");
  for (const char* line = processes.c_str(); *line != '\0';) {
    char* end = nullptr;
    const long pid = strtol(line, &end, 10);
    // 0: a process of another pid namespace.
    if (pid > 1 && kill(static_cast<pid_t>(pid), SIGKILL) == 0) ++signalled;
    if (end == line) break;
    line = *end == '\n' ? end + 1 : end;
  }
  if (depth == kMaxDepth) return signalled;
  for (const std::string& child : Children(directory)) signalled += SignalTree(child, depth + 1);
  return signalled;
}

void KillOldHierarchy(const std::string& directory) {
  const std::string state = directory + "/freezer.state";
  const bool frozen = WriteFile(state, "FROZEN");
  for (int look = 0; frozen && look < kMaxFreezeLooks; ++look) {
    if (ReadFile(state).starts_with("FROZEN")) break;
    nanosleep(&kFreezePause, nullptr);
  }
  // What is not frozen may fork between two passes.
  constexpr int kMaxPasses = 16;
  for (int pass = 0; SignalTree(directory) > 0 && !frozen && pass < kMaxPasses; ++pass) continue;
  if (frozen) (void)WriteFile(state, "THAWED");
}

// The number behind `key ` at the start of a line, or 0.
int64_t NumberAfter(const std::string& text, const std::string& key) {
  for (size_t start = 0; start < text.size();) {
    if (text.compare(start, key.size(), key) == 0) {
      return strtoll(text.c_str() + start + key.size(), nullptr, 10);
    }
    const size_t newline = text.find('\n', start);
    if (newline == std::string::npos) break;
    start = newline + 1;
  }
  return 0;
}

void RemoveTree(const std::string& directory, int depth) {
  if (depth < kMaxDepth) {
    for (const std::string& child : Children(directory)) RemoveTree(child, depth + 1);
  }
  (void)rmdir(directory.c_str());
}

}  // namespace

void KillCgroups(const std::vector<std::string>& directories) {
  for (const std::string& directory : directories) {
    if (WriteFile(directory + "/cgroup.kill", "1")) return;
  }
  for (const std::string& directory : directories) {
    if (access((directory + "/freezer.state").c_str(), F_OK) == 0) {
      return KillOldHierarchy(directory);
    }
  }
  if (!directories.empty()) KillOldHierarchy(directories[0]);
}

int64_t CountOomKills(const std::vector<std::string>& directories) {
  int64_t kills = 0;
  for (const std::string& directory : directories) {
    kills += NumberAfter(ReadFile(directory + "/memory.events"), "oom_kill ");
    kills += NumberAfter(ReadFile(directory + "/memory.oom_control"), "oom_kill ");
  }
  return kills;
}

void RemoveCgroups(const std::vector<std::string>& directories) {
  for (const std::string& directory : directories) RemoveTree(directory, 0);
}

void LeaveCgroups(const std::vector<std::string>& directories) {
  for (const std::string& directory : directories) {
    for (size_t end = directory.rfind('/'); end != 0 && end != std::string::npos;
         end = directory.rfind('/', end - 1)) {
      if (WriteFile(directory.substr(0, end) + "/cgroup.procs", "0")) break;
    }
  }
}

Status EnterCgroups(const std::vector<std::string>& directories) {
  for (const std::string& directory : directories) {
    const std::string path = directory + "/cgroup.procs";
    UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file) return Errno("open", path);
    if (write(file.get(), "0", 1) != 1) return Errno("write", path);
  }
  return Done{};
}

}  // namespace cais
