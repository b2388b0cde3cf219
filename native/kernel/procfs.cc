#include "kernel/procfs.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cstdlib>

#include "kernel/syscalls.h"

namespace cais {

namespace {

constexpr ino_t kProcRootInode = 1;

}  // namespace

Result<Procfs> Procfs::Open() {
  UniqueFd root(open("/proc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!root) return Errno("open", "/proc");
  struct statfs file_system;
  struct stat status;
  if (fstatfs(root.get(), &file_system) != 0) return Errno("fstatfs", "/proc");
  if (fstat(root.get(), &status) != 0) return Errno("fstat", "/proc");
  if (file_system.f_type != PROC_SUPER_MAGIC || status.st_ino != kProcRootInode) {
    return Failure{ENOTSUP, "check that it is a procfs", "/proc", {}};
  }
  return Procfs(std::move(root));
}

Result<UniqueFd> Procfs::OpenFile(const std::string& path, int flags) const {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  if (!path.starts_with("self/")) how.resolve |= RESOLVE_NO_SYMLINKS;
  UniqueFd file(OpenAt2(root_.get(), path.c_str(), how));
  if (!file) return Errno("open", "/proc/" + path);
  return file;
}

Status Procfs::Write(const std::string& path, const std::string& text) const {
  Result<UniqueFd> file = OpenFile(path, O_WRONLY);
  if (!file.ok()) return file.failure();
  if (write(file.value().get(), text.data(), text.size()) < 0) {
    return Errno("write", "/proc/" + path);
  }
  return Done{};
}

Result<std::string> Procfs::Read(const std::string& path) const {
  Result<UniqueFd> file = OpenFile(path, O_RDONLY);
  if (!file.ok()) return file.failure();
  char text[4095];
  const ssize_t length = read(file.value().get(), text, sizeof text);
  if (length < 0) return Errno("read", "/proc/" + path);
  return std::string(text, static_cast<size_t>(length));
}

Result<UniqueFd> Procfs::OpenNamespace(pid_t pid, const char* name) const {
  const std::string path = (pid == 0 ? std::string("self") : std::to_string(pid)) + "/ns/" + name;
  // These are magic links by nature, and below /proc/PID/ns nobody but the kernel makes any.
  UniqueFd file(openat(root_.get(), path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return Errno("open", "/proc/" + path);
  return file;
}

Result<pid_t> Procfs::PidOf(int pidfd) const {
  Result<std::string> info = Read("self/fdinfo/" + std::to_string(pidfd));
  if (!info.ok()) return info.failure();
  constexpr char kKey[] = "\nPid:";
  const size_t key = info.value().find(kKey);
  const long pid = key == std::string::npos
                       ? 0
                       : strtol(info.value().c_str() + key + sizeof kKey - 1, nullptr, 10);
  if (pid <= 0) return Failure{ESRCH, "find the process of a pidfd", {}, {}};
  return static_cast<pid_t>(pid);
}

Result<int64_t> Procfs::StartTicks(pid_t pid) const {
  Result<std::string> stat = Read(std::to_string(pid) + "/stat");
  if (!stat.ok()) return stat.failure();
  // The second field is the name in parentheses and may hold spaces and parentheses itself.
  size_t position = stat.value().rfind(')');
  constexpr int kFieldsBetween = 20;
  for (int i = 0; i < kFieldsBetween && position != std::string::npos; ++i) {
    position = stat.value().find(' ', position + 1);
  }
  if (position == std::string::npos) return Failure{EPROTO, "read stat", std::to_string(pid), {}};
  return strtoll(stat.value().c_str() + position, nullptr, 10);
}

}  // namespace cais
