#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "kernel/result.h"
#include "kernel/unique_fd.h"

namespace cais {

// The machine's procfs, held open and known to be one: every read and write of /proc goes through
// this descriptor, never through a path of a container (CVE-2019-16884, CVE-2025-52881).
class Procfs {
 public:
  // Opens /proc and checks that it is the root of a procfs.
  static Result<Procfs> Open();

  // Opens `path` below it; other mounts and symbolic links (but for "self") are refused.
  Result<UniqueFd> OpenFile(const std::string& path, int flags) const;
  Status Write(const std::string& path, const std::string& text) const;
  // At most 4095 bytes.
  Result<std::string> Read(const std::string& path) const;
  // A namespace of a process, `pid` 0: the caller's.
  Result<UniqueFd> OpenNamespace(pid_t pid, const char* name) const;
  // The pid of the process that a pidfd of the caller's names, as this procfs counts.
  Result<pid_t> PidOf(int pidfd) const;
  // Field 22 of /proc/PID/stat.
  Result<int64_t> StartTicks(pid_t pid) const;
  int fd() const { return root_.get(); }

 private:
  explicit Procfs(UniqueFd root) : root_(std::move(root)) {}
  UniqueFd root_;
};

}  // namespace cais
