#include "supervisor/sandbox_namespaces.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/syscalls.h"
#include "supervisor/failure_record.h"
#include "supervisor/record.h"
#include "supervisor/sysctl.h"

namespace cais {

namespace {

constexpr char kMade = 'm';
constexpr size_t kMaxReportBytes = 32 << 10;

Status MakeHere(const Sandbox& sandbox) {
  const SandboxSpec& spec = sandbox.spec;
  if (unshare(spec.namespaces) != 0) return Errno("unshare");
  if (!spec.hostname.empty() && sethostname(spec.hostname.data(), spec.hostname.size()) != 0) {
    return Errno("sethostname", spec.hostname);
  }
  for (const auto& [key, value] : spec.sysctls) {
    Status written = WriteSysctl(sandbox.procfs, spec.namespaces, {key, value});
    if (!written.ok()) return written;
  }
  return Done{};
}

// In a child: namespaces belong to the user namespace that their maker is in, and there is no way
// back out of one. Settings are written by its root too, who owns them.
[[noreturn]] void MakeInUserNamespace(const Sandbox& sandbox, int report_fd) {
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  Status made = BecomeRootOf(sandbox.user_namespace.get());
  if (made.ok()) made = MakeHere(sandbox);
  const std::string report =
      made.ok() ? std::string(1, kMade) : EncodeFailure("namespaces", made.failure());
  (void)send(report_fd, report.data(), report.size(), MSG_NOSIGNAL);
  // Held until the parent has joined them.
  for (;;) pause();
}

Status ReadReport(int report_fd) {
  char bytes[kMaxReportBytes];
  ssize_t count;
  do {
    count = recv(report_fd, bytes, sizeof bytes, 0);
  } while (count < 0 && errno == EINTR);
  if (count == 1 && bytes[0] == kMade) return Done{};
  if (count <= 0) return Failure{ESRCH, "make the namespaces", "its process was killed", {}};
  RecordReader record(std::string_view(bytes, static_cast<size_t>(count)));
  return Failure{static_cast<int>(record.Number(FailedField::kErrno)),
                 "make the namespaces of the user namespace",
                 record.Text(FailedField::kPath),
                 {}};
}

Status JoinMade(const Sandbox& sandbox, int pidfd, int report_fd) {
  Status made = ReadReport(report_fd);
  if (!made.ok()) return made;
  if (setns(pidfd, sandbox.spec.namespaces) != 0) return Errno("setns", "of the user namespace");
  return Done{};
}

}  // namespace

Status EnterNamespaces(Sandbox& sandbox) {
  if (sandbox.spec.id_maps.empty()) return MakeHere(sandbox);
  Result<UniqueFd> owner = MakeUserNamespace(sandbox.procfs, sandbox.spec.id_maps);
  if (!owner.ok()) return owner.failure();
  sandbox.user_namespace = std::move(owner.value());
  if (sandbox.spec.namespaces == 0) return Done{};
  int report[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, report) != 0) {
    return Errno("socketpair");
  }
  const UniqueFd ours(report[0]);
  UniqueFd theirs(report[1]);
  int pidfd = -1;
  clone_args args = {};
  args.flags = CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  const pid_t pid = Clone3(args);
  if (pid < 0) return Errno("clone3", "namespaces");
  if (pid == 0) MakeInUserNamespace(sandbox, theirs.get());
  const UniqueFd process(pidfd);
  // Only the child's end keeps the socket open now: its death is the end of the wait.
  theirs.Reset();
  Status joined = JoinMade(sandbox, process.get(), ours.get());
  (void)kill(pid, SIGKILL);
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) continue;
  return joined;
}

}  // namespace cais
