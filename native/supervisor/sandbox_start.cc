#include "supervisor/sandbox_start.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <optional>

#include "supervisor/cgroup_directory.h"
#include "supervisor/failure_record.h"
#include "supervisor/protocol.h"
#include "supervisor/record.h"
#include "supervisor/sandbox.h"
#include "supervisor/sandbox_namespaces.h"
#include "supervisor/start_answer.h"
#include "supervisor/supervisor.h"

namespace cais {

namespace {

constexpr char kSocketName[] = "control.sock";
constexpr int kListenBacklog = 64;
// Low, since the supervisor reports what memory pressure does to others; not -1000, which would
// make it impossible to end.
constexpr char kOwnOomScore[] = "-999";

Status SetProcess(const SandboxSpec& spec) {
  umask(022);
  // Who looks into this process sees descriptors of the host.
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return Errno("prctl PR_SET_DUMPABLE");
  if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) return Errno("prctl PR_SET_CHILD_SUBREAPER");
  (void)prctl(PR_SET_NAME, "cais-supervisor", 0, 0, 0);
  if (spec.open_files_hard > 0) {
    const rlimit limit = {static_cast<rlim_t>(spec.open_files_soft),
                          static_cast<rlim_t>(spec.open_files_hard)};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return Errno("setrlimit RLIMIT_NOFILE");
  }
  return Done{};
}

Status OpenRunDirectory(Sandbox& sandbox) {
  const std::string& path = sandbox.spec.run_directory;
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return Errno("mkdir", path);
  sandbox.run_directory.Reset(open(path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!sandbox.run_directory) return Errno("open", path);
  const int directory = sandbox.run_directory.get();
  if (mkdirat(directory, "exit", 0700) != 0 && errno != EEXIST)
    return Errno("mkdir", path + "/exit");
  sandbox.exit_directory.Reset(
      openat(directory, "exit", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!sandbox.exit_directory) return Errno("open", path + "/exit");
  return Done{};
}

// Bound by its short name from inside the directory: a socket path holds only 108 bytes.
Status Listen(Sandbox& sandbox) {
  const std::string shown = sandbox.spec.run_directory + "/" + kSocketName;
  UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return Errno("socket");
  if (fchdir(sandbox.run_directory.get()) != 0) return Errno("fchdir", sandbox.spec.run_directory);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, kSocketName, sizeof kSocketName);
  const mode_t before = umask(0177);
  const int bound =
      bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = errno;
  umask(before);
  if (chdir("/") != 0) return Errno("chdir", "/");
  if (bound != 0) return Failure{error, "bind", shown, {}};
  if (listen(listener.get(), kListenBacklog) != 0) return Errno("listen", shown);
  sandbox.listener = std::move(listener);
  return Done{};
}

Status ReadMachine(Sandbox& sandbox) {
  Result<std::string> boot_id = sandbox.procfs.Read("sys/kernel/random/boot_id");
  if (!boot_id.ok()) return boot_id.failure();
  sandbox.boot_id = boot_id.value().substr(0, boot_id.value().find('\n'));
  Result<std::string> score = sandbox.procfs.Read("self/oom_score_adj");
  if (!score.ok()) return score.failure();
  sandbox.inherited_oom_score_adj = score.value().substr(0, score.value().find('\n'));
  // Without CAP_SYS_RESOURCE it stays as it is.
  (void)sandbox.procfs.Write("self/oom_score_adj", kOwnOomScore);
  sandbox.executable.Reset(open("/proc/self/exe", O_PATH | O_CLOEXEC));
  if (!sandbox.executable) return Errno("open", "/proc/self/exe");
  return Done{};
}

Status DetachStdio() {
  const int null_device = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null_device < 0) return Errno("open", "/dev/null");
  for (int fd = 0; fd < 3; ++fd) {
    if (dup2(null_device, fd) < 0) return Errno("dup2");
  }
  (void)close(null_device);
  return Done{};
}

Result<Sandbox> MakeSandbox(SandboxSpec spec, Procfs procfs) {
  Sandbox sandbox{.spec = std::move(spec),
                  .procfs = std::move(procfs),
                  .executable = UniqueFd(),
                  .run_directory = UniqueFd(),
                  .exit_directory = UniqueFd(),
                  .listener = UniqueFd(),
                  .user_namespace = UniqueFd(),
                  .shared_memory = SharedMemory(),
                  .boot_id = {},
                  .inherited_oom_score_adj = {}};
  Status step = SetProcess(sandbox.spec);
  if (!step.ok()) return At("process", step.failure());
  step = EnterCgroups(sandbox.spec.supervisor_cgroups);
  if (!step.ok()) return At("cgroup", step.failure());
  step = ReadMachine(sandbox);
  if (!step.ok()) return At("process", step.failure());
  step = OpenRunDirectory(sandbox);
  if (!step.ok()) return At("run directory", step.failure());
  step = EnterNamespaces(sandbox);
  if (!step.ok()) return At("namespaces", step.failure());
  Result<SharedMemory> memory =
      SharedMemory::Make(sandbox.procfs, sandbox.spec.shm_size_bytes, sandbox.spec.id_maps);
  if (!memory.ok()) return At("shared memory", memory.failure());
  sandbox.shared_memory = std::move(memory.value());
  step = DetachStdio();
  if (!step.ok()) return At("process", step.failure());
  step = Listen(sandbox);
  if (!step.ok()) return At("socket", step.failure());
  return sandbox;
}

Result<Sandbox> StartSandbox() {
  Result<std::string> bytes = ReadSpec();
  if (!bytes.ok()) return At("spec", bytes.failure());
  Result<SandboxSpec> spec = ParseSandboxSpec(bytes.value());
  if (!spec.ok()) return At("spec", spec.failure());
  Result<Procfs> procfs = Procfs::Open();
  if (!procfs.ok()) return At("process", procfs.failure());
  return MakeSandbox(std::move(spec.value()), std::move(procfs.value()));
}

}  // namespace

int RunSandbox() {
  if (setsid() < 0 && errno != EPERM) {
    AnswerFailure(At("process", Errno("setsid")));
    return 1;
  }
  const pid_t child = fork();
  if (child < 0) {
    AnswerFailure(At("process", Errno("fork")));
    return 1;
  }
  // Writes to whoever has gone fail by EPIPE: the starter, later a container that closed its stdin.
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGPIPE);
  (void)sigprocmask(SIG_BLOCK, &blocked, nullptr);
  // The starter waits for this half, and for the end of the answer of the other.
  if (child > 0) _exit(0);
  // Stays open until the answer; no program executed meanwhile may hold it.
  (void)fcntl(kAnswerFd, F_SETFD, FD_CLOEXEC);
  Result<EventLoop> loop = EventLoop::Open();
  Result<Sandbox> sandbox = loop.ok() ? StartSandbox() : At("process", loop.failure());
  if (!sandbox.ok()) {
    AnswerFailure(sandbox.failure());
    return 1;
  }
  const Result<int64_t> ticks = sandbox.value().procfs.StartTicks(getpid());
  Answer(RecordWriter()
             .Number(StartResultField::kPid, getpid())
             .Number(StartResultField::kStartTicks, ticks.ok() ? ticks.value() : 0)
             .bytes());
  Supervisor supervisor(sandbox.value(), std::move(loop.value()));
  return supervisor.Run().ok() ? 0 : 1;
}

}  // namespace cais
