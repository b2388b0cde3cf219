#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervisor/failure_record.h"
#include "supervisor/oci_launch.h"
#include "supervisor/supervisor.h"

// Containers that an external OCI runtime makes. For those the supervisor is what a shim or monitor
// is elsewhere: it runs the runtime as its child, becomes the parent of what the runtime leaves
// behind (PR_SET_CHILD_SUBREAPER), and waits for it.
//
//   START ─▶ `create` (or `exec --detach`) ─▶ pid file, terminal ─▶ `start` ─▶ STARTED

namespace cais {

namespace {

// A machine that starts many containers at once needs seconds for one; one that hangs never ends.
constexpr int64_t kStartTimeoutMs = 120'000;
constexpr int64_t kCommandTimeoutMs = 10'000;
// Orphans that end while a runtime works, remembered until it has said which one it made.
constexpr size_t kMaxRememberedOrphans = 65'536;

bool Succeeded(int wait_status) { return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0; }

UniqueFd OpenPidfd(pid_t pid) {
  return UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

// A runtime leads a session and a process group.
void KillOperation(pid_t pid) {
  (void)kill(-pid, SIGKILL);
  (void)kill(pid, SIGKILL);
}

}  // namespace

void Supervisor::StartOci(Connection& client, uint32_t request_id, LaunchRequest& request) {
  Result<std::unique_ptr<Container>> launched = LaunchOci(request);
  if (!launched.ok()) return Fail(client, request_id, launched.failure());
  Container& container = *launched.value();
  container.requester = client.serial();
  container.request_id = request_id;
  containers_.push_back(std::move(launched.value()));
  AddOperation(container.oci->operation, kStartTimeoutMs,
               [this, &container](int wait_status) { OnOciCreated(container, wait_status); });
}

void Supervisor::AddOperation(pid_t pid, int64_t timeout_ms, std::function<void(int)> on_exit) {
  const EventLoop::TimerId deadline = loop_.AddTimer(timeout_ms, [pid] { KillOperation(pid); });
  operations_.push_back({pid, deadline, std::move(on_exit)});
}

bool Supervisor::FinishOperation(pid_t pid, int wait_status) {
  for (auto place = operations_.begin(); place != operations_.end(); ++place) {
    if (place->pid != pid) continue;
    const Operation finished = std::move(*place);
    operations_.erase(place);
    loop_.CancelTimer(finished.deadline);
    finished.on_exit(wait_status);
    if (operations_.empty()) orphan_exits_.clear();
    return true;
  }
  return false;
}

void Supervisor::RememberOrphan(pid_t pid, int wait_status) {
  if (operations_.empty() || orphan_exits_.size() >= kMaxRememberedOrphans) return;
  orphan_exits_[pid] = wait_status;
}

void Supervisor::OnOciCreated(Container& container, int wait_status) {
  OciContainer& oci = *container.oci;
  oci.operation = 0;
  if (!Succeeded(wait_status)) {
    return FailOci(container, EncodeRuntimeFailure(container, wait_status));
  }
  Status adopted = AdoptOciProcess(container);
  if (!adopted.ok()) return FailOci(container, EncodeFailure("runtime", adopted.failure()));
  Status served = ServeOciStdio(container);
  if (!served.ok()) return FailOci(container, EncodeFailure("session", served.failure()));
  if (container.kind == LaunchKind::kExec) return OnOciStarted(container);
  Result<pid_t> started =
      StartRuntime(OciOperation(sandbox_, oci, oci.log_path, {"start", oci.container_id}));
  if (!started.ok()) return FailOci(container, EncodeFailure("runtime", started.failure()));
  oci.operation = started.value();
  AddOperation(oci.operation, kStartTimeoutMs, [this, &container](int status) {
    container.oci->operation = 0;
    if (!Succeeded(status)) return FailOci(container, EncodeRuntimeFailure(container, status));
    OnOciStarted(container);
  });
}

// The runtime has ended, so what it made is our child now, if it is not a zombie that was reaped a
// moment ago.
Status Supervisor::AdoptOciProcess(Container& container) {
  OciContainer& oci = *container.oci;
  Result<pid_t> pid = ReadPidFile(oci.pid_path);
  if (!pid.ok()) return pid.failure();
  siginfo_t info = {};
  if (waitid(P_PID, static_cast<id_t>(pid.value()), &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
    container.pidfd = OpenPidfd(pid.value());
    if (!container.pidfd) return Errno("pidfd_open");
    Result<int64_t> ticks = sandbox_.procfs.StartTicks(pid.value());
    if (!ticks.ok()) return ticks.failure();
    container.pid = pid.value();
    container.start_ticks = ticks.value();
  } else {
    const auto ended = orphan_exits_.find(pid.value());
    if (ended == orphan_exits_.end()) {
      return Failure{ECHILD,
                     "wait for the process that the OCI runtime made",
                     std::to_string(pid.value()),
                     {}};
    }
    container.pid = pid.value();
    container.reaped = true;
    oci.early_wait_status = ended->second;
    orphan_exits_.erase(ended);
  }
  return Done{};
}

Status Supervisor::ServeOciStdio(Container& container) {
  OciContainer& oci = *container.oci;
  StdioRelay& relay = *container.relay;
  if (!oci.console) {
    // Nothing of a container has run: these are warnings of the runtime.
    if (container.kind == LaunchKind::kContainer) (void)relay.TakeEarlyOutput();
    return relay.Start();
  }
  Result<UniqueFd> master = TakeTerminalOf(oci);
  oci.console.Reset();
  if (!master.ok()) return master.failure();
  Status taken = relay.TakeTerminal(std::move(master.value()));
  if (!taken.ok() || oci.rows == 0) return taken;
  return relay.Resize(oci.rows, oci.columns);
}

void Supervisor::OnOciStarted(Container& container) {
  RemoveStartFiles(*container.oci);
  OnStarted(container);
  if (container.oci->early_wait_status) OnExit(container, *container.oci->early_wait_status);
}

void Supervisor::FailOci(Container& container, const std::string& failed_record) {
  RemoveStartFiles(*container.oci);
  SignalContainer(container, SIGKILL);
  OnStartFailed(container, failed_record);
  // Otherwise it goes when it has been reaped.
  if (container.pid != 0 && !container.reaped) return;
  containers_.remove_if([&container](const auto& other) { return other.get() == &container; });
}

void Supervisor::Signal(Container& container, int signal) {
  const bool running = container.state == ContainerState::kRunning && !container.reaped;
  const bool by_runtime = container.oci && container.kind == LaunchKind::kContainer && running;
  if (container.oci && signal == SIGKILL && container.oci->operation > 0) {
    KillOperation(container.oci->operation);
  }
  if (!by_runtime || signal == SIGKILL) return SignalContainer(container, signal);
  // By the runtime, since the process may be a virtual machine or a kernel, not the program itself.
  const OciContainer& oci = *container.oci;
  Result<pid_t> started =
      StartRuntime(OciOperation(sandbox_, oci, oci.runtime.bundle + "/kill.log",
                                {"kill", oci.container_id, std::to_string(signal)}));
  if (!started.ok()) return SignalContainer(container, signal);
  AddOperation(started.value(), kCommandTimeoutMs,
               [this, id = container.id, signal](int wait_status) {
                 Container* const target = FindRunning(id);
                 if (!Succeeded(wait_status) && target != nullptr) SignalContainer(*target, signal);
               });
}

// Only at the end, when the owner is gone: otherwise it is the engine that deletes.
void Supervisor::DeleteOciContainers() {
  for (const auto& container : containers_) {
    if (!container->oci || container->kind != LaunchKind::kContainer) continue;
    const OciContainer& oci = *container->oci;
    Result<pid_t> started =
        StartRuntime(OciOperation(sandbox_, oci, oci.runtime.bundle + "/delete.log",
                                  {"delete", "--force", oci.container_id}));
    if (!started.ok()) continue;
    const UniqueFd pidfd = OpenPidfd(started.value());
    pollfd end = {pidfd.get(), POLLIN, 0};
    if (poll(&end, 1, kCommandTimeoutMs) != 1) KillOperation(started.value());
    (void)waitpid(started.value(), nullptr, 0);
  }
}

}  // namespace cais
