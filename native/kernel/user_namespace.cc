#include "kernel/user_namespace.h"

#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "kernel/syscalls.h"

namespace cais {

namespace {

// What /proc/sys/kernel/overflowuid is everywhere.
constexpr uint32_t kOverflowId = 65534;

std::string MapText(const std::vector<IdRange>& ranges) {
  std::string text;
  for (const IdRange& range : ranges) {
    text += std::to_string(range.inside) + " " + std::to_string(range.outside) + " " +
            std::to_string(range.length) + "\n";
  }
  return text;
}

uint32_t Outside(const std::vector<IdRange>& ranges, uint32_t inside) {
  for (const IdRange& range : ranges) {
    if (inside >= range.inside && inside - range.inside < range.length) {
      return range.outside + (inside - range.inside);
    }
  }
  return kOverflowId;
}

// The first process of the new namespace, which does nothing and ends with this object.
class Holder {
 public:
  explicit Holder(pid_t pid) : pid_(pid) {}
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  ~Holder() {
    (void)kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
  }

 private:
  pid_t pid_;
};

}  // namespace

uid_t IdMaps::OutsideUid(uid_t inside) const { return empty() ? inside : Outside(uids, inside); }

gid_t IdMaps::OutsideGid(gid_t inside) const { return empty() ? inside : Outside(gids, inside); }

Result<UniqueFd> MakeUserNamespace(const Procfs& procfs, const IdMaps& maps) {
  clone_args args = {};
  args.flags = CLONE_NEWUSER;
  args.exit_signal = SIGCHLD;
  const pid_t pid = Clone3(args);
  if (pid < 0) return Errno("clone3", "user namespace");
  if (pid == 0) {
    for (;;) pause();
  }
  const Holder holder(pid);
  const std::string directory = std::to_string(pid) + "/";
  Status written = procfs.Write(directory + "uid_map", MapText(maps.uids));
  if (written.ok()) written = procfs.Write(directory + "gid_map", MapText(maps.gids));
  if (!written.ok()) return written.failure();
  return procfs.OpenNamespace(pid, "user");
}

Status BecomeRootOf(int user_namespace_fd) {
  if (setns(user_namespace_fd, CLONE_NEWUSER) != 0) return Errno("setns", "user");
  return BecomeNamespaceRoot();
}

Status BecomeNamespaceRoot() {
  if (setgroups(0, nullptr) != 0) return Errno("setgroups");
  if (setresgid(0, 0, 0) != 0) return Errno("setresgid", "0");
  if (setresuid(0, 0, 0) != 0) return Errno("setresuid", "0");
  return Done{};
}

}  // namespace cais
