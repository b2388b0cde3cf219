#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "kernel/descriptor_message.h"
#include "kernel/detached_mount.h"
#include "kernel/rooted_path.h"
#include "supervisor/init_context.h"

namespace cais {

namespace {

constexpr unsigned kPtmxMajor = 5;
constexpr unsigned kPtmxMinor = 2;
constexpr unsigned kPtsFirstMajor = 136;
constexpr unsigned kPtsLastMajor = 143;

// The multiplexer of the container's own devpts. Whatever the image put at these names, only the
// real device of a devpts is taken (CVE-2025-52565).
Result<UniqueFd> OpenMaster(int root_fd) {
  constexpr char kPath[] = "/dev/pts/ptmx";
  Result<UniqueFd> master =
      OpenInRoot(root_fd, kPath, O_RDWR | O_NOCTTY | O_NONBLOCK, Links::kRefuse);
  if (!master.ok()) return master;
  struct stat status;
  struct statfs file_system;
  if (fstat(master.value().get(), &status) != 0) return Errno("fstat", kPath);
  if (fstatfs(master.value().get(), &file_system) != 0) return Errno("fstatfs", kPath);
  if (file_system.f_type != DEVPTS_SUPER_MAGIC || !S_ISCHR(status.st_mode) ||
      status.st_rdev != makedev(kPtmxMajor, kPtmxMinor)) {
    return Failure{ENODEV, "check that it is the terminal multiplexer", kPath, {}};
  }
  return master;
}

// /dev/console: the terminal's slave bound on an empty file.
Status BindConsole(int root_fd, int master_fd) {
  constexpr char kPath[] = "/dev/console";
  unsigned number = 0;
  if (ioctl(master_fd, TIOCGPTN, &number) != 0) return Errno("TIOCGPTN");
  Result<UniqueFd> slave = OpenInRoot(root_fd, "/dev/pts/" + std::to_string(number),
                                      O_PATH | O_NOFOLLOW, Links::kRefuse);
  if (!slave.ok()) return slave.failure();
  struct stat status;
  if (fstat(slave.value().get(), &status) != 0) return Errno("fstat", kPath);
  if (!S_ISCHR(status.st_mode) || major(status.st_rdev) < kPtsFirstMajor ||
      major(status.st_rdev) > kPtsLastMajor) {
    return Failure{ENODEV, "check that it is a terminal", kPath, {}};
  }
  Result<UniqueFd> clone = CloneMount(slave.value().get(), "", {});
  if (!clone.ok()) return clone.failure();
  Result<UniqueFd> target = EnsureInRoot(root_fd, kPath, Entry::kFile, Links::kRefuse);
  if (!target.ok()) return target.failure();
  return AttachMount(clone.value().get(), target.value().get());
}

}  // namespace

Status OpenTerminal(InitContext& context) {
  if (!context.spec.terminal || context.spec.stdio_fds) return Done{};
  Result<UniqueFd> master = OpenMaster(context.root.get());
  if (!master.ok()) return master.failure();
  const int master_fd = master.value().get();
  int unlocked = 0;
  if (ioctl(master_fd, TIOCSPTLCK, &unlocked) != 0) return Errno("TIOCSPTLCK");
  context.terminal_slave.Reset(ioctl(master_fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!context.terminal_slave) return Errno("TIOCGPTPEER");
  const winsize size = {context.spec.rows, context.spec.columns, 0, 0};
  if (size.ws_row != 0 && ioctl(master_fd, TIOCSWINSZ, &size) != 0) return Errno("TIOCSWINSZ");
  if (context.spec.kind == LaunchKind::kContainer) {
    Status bound = BindConsole(context.root.get(), master_fd);
    if (!bound.ok()) return bound;
  }
  return SendDescriptor(context.report_fd, kReportTerminal, master_fd, "send the terminal");
}

}  // namespace cais
