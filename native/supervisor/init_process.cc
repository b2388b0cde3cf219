#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "kernel/credentials.h"
#include "kernel/rooted_path.h"
#include "supervisor/init_context.h"

namespace cais {

namespace {

// The search path of a program whose environment has none; as the C library's, with sbin.
constexpr char kDefaultPath[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::string SearchPath(const std::vector<std::string>& environment) {
  for (const std::string& variable : environment) {
    if (variable.starts_with("PATH=")) return variable.substr(5);
  }
  return kDefaultPath;
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

bool IsRegularFile(const std::string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

// Capabilities that the seccomp call needs when no_new_privs is not set.
uint64_t KeptForSeccomp(const InitContext& context) {
  const bool needed = !context.spec.seccomp.empty() && !context.spec.credentials.no_new_privileges;
  return needed ? uint64_t{1} << CAP_SYS_ADMIN : 0;
}

}  // namespace

Status MakeWorkingDirectory(InitContext& context) {
  const std::string& path = context.spec.working_directory;
  if (path.empty()) return Done{};
  Result<UniqueFd> made = EnsureInRoot(context.root.get(), path, Entry::kDirectory, Links::kFollow);
  if (!made.ok()) return made.failure();
  return Done{};
}

Status MakeDirectories(InitContext& context) {
  for (const std::string& path : context.spec.directories) {
    Result<UniqueFd> made =
        EnsureInRoot(context.root.get(), path, Entry::kDirectory, Links::kFollow);
    if (!made.ok()) {
      made.failure().path = path;
      return made.failure();
    }
  }
  return Done{};
}

Status EnterWorkingDirectory(InitContext& context) {
  const std::string& wanted = context.spec.working_directory;
  const std::string path = wanted.empty() ? "/" : wanted;
  Result<UniqueFd> directory = OpenInRoot(context.root.get(), path, O_PATH | O_DIRECTORY);
  if (!directory.ok()) return directory.failure();
  if (fchdir(directory.value().get()) != 0) return Errno("fchdir", path);
  // A directory outside the root has no path from here (CVE-2024-21626).
  char current[PATH_MAX];
  if (syscall(SYS_getcwd, current, sizeof current) < 0) return Errno("getcwd", path);
  if (current[0] != '/') return Failure{EXDEV, "check that it is inside the root", path, {}};
  context.root.Reset();
  return Done{};
}

Status BecomeUser(InitContext& context) {
  umask(context.spec.umask);
  Status limited = LimitBoundingSet(context.spec.credentials.bounding);
  if (!limited.ok()) {
    limited.failure().code = "capabilities";
    return limited;
  }
  return ChangeIds(context.spec.credentials);
}

// The kernel changes to the profile when it executes the program. Before no_new_privs, under which
// some kernels allow no change.
Status ConfineProgram(InitContext& context) {
  const std::string& profile = context.spec.apparmor_profile;
  if (profile.empty()) return Done{};
  Status written = context.sandbox.procfs.Write("self/attr/apparmor/exec", "exec " + profile);
  // Kernels before 5.8 have one file for all security modules.
  if (!written.ok() && written.failure().error == ENOENT) {
    written = context.sandbox.procfs.Write("self/attr/exec", "exec " + profile);
  }
  if (!written.ok()) written.failure().path = profile;
  return written;
}

// With the user's own rights, and before seccomp, which may forbid to look.
Status FindProgram(InitContext& context) {
  const std::string& name = context.spec.arguments[0];
  context.program = name;
  if (name.find('/') != std::string::npos) return Done{};
  const std::string search = SearchPath(context.spec.environment);
  int error = ENOENT;
  for (size_t start = 0; start <= search.size();) {
    const size_t end = std::min(search.find(':', start), search.size());
    const std::string directory = search.substr(start, end - start);
    start = end + 1;
    // An empty entry means the working directory in a shell: not here.
    if (directory.empty()) continue;
    const std::string candidate = directory + "/" + name;
    if (!IsRegularFile(candidate)) continue;
    if (faccessat(AT_FDCWD, candidate.c_str(), X_OK, AT_EACCESS) == 0) {
      context.program = candidate;
      return Done{};
    }
    error = errno;
  }
  return Failure{error, error == ENOENT ? "find in PATH" : "execute", name, {}};
}

Status FinishPrivileges(InitContext& context) {
  const Credentials& credentials = context.spec.credentials;
  Status set = SetCapabilities(credentials, KeptForSeccomp(context));
  if (!set.ok()) return set;
  if (credentials.no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return Errno("prctl PR_SET_NO_NEW_PRIVS");
  }
  return Done{};
}

// The change of credentials has cleared the parent-death signal. A supervisor that died before the
// signal was set again is known by its end of the report socket.
Status CheckSupervisorLives(InitContext& context) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return Errno("prctl PR_SET_PDEATHSIG");
  pollfd report = {context.report_fd, POLLIN, 0};
  if (poll(&report, 1, 0) > 0) _exit(128 + SIGKILL);
  if (close_range(3, UINT_MAX, CLOSE_RANGE_CLOEXEC) != 0) return Errno("close_range");
  if (send(context.report_fd, &kReportReady, sizeof kReportReady, MSG_NOSIGNAL) < 0) {
    return Errno("tell the supervisor");
  }
  return Done{};
}

Status Execute(InitContext& context) {
  const LaunchSpec& spec = context.spec;
  const std::vector<char*> arguments = Pointers(spec.arguments);
  const std::vector<char*> environment = Pointers(spec.environment);
  if (!spec.seccomp.empty()) {
    Status loaded = LoadSeccomp(spec.seccomp, spec.seccomp_flags);
    if (!loaded.ok()) {
      loaded.failure().code = "seccomp";
      return loaded;
    }
    if (KeptForSeccomp(context) != 0) {
      Status dropped = SetCapabilities(spec.credentials, 0);
      if (!dropped.ok()) {
        dropped.failure().code = "capabilities";
        return dropped;
      }
    }
  }
  execve(context.program.c_str(), arguments.data(), environment.data());
  const int error = errno;
  if (error == ENOENT && access(context.program.c_str(), F_OK) == 0) {
    return Failure{error, "find the interpreter of", context.program, {}};
  }
  return Failure{error, "execute", context.program, {}};
}

Status ExecutePause(InitContext& context) {
  char name[] = "pause";
  char* arguments[] = {name, name, nullptr};
  char* environment[] = {nullptr};
  syscall(SYS_execveat, context.sandbox.executable.get(), "", arguments, environment,
          AT_EMPTY_PATH);
  return Errno("execute", "pause");
}

}  // namespace cais
