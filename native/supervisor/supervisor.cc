#include "supervisor/supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "kernel/tree.h"
#include "supervisor/cgroup_directory.h"
#include "supervisor/failure_record.h"
#include "supervisor/init_context.h"
#include "supervisor/record.h"

namespace cais {

namespace {

// How long output is waited for when somebody else holds a pipe of an ended container open.
constexpr int64_t kDrainPatienceMs = 2000;
// Exited execs that nobody has asked to forget; the oldest go.
constexpr size_t kMaxExitedExecs = 64;
constexpr size_t kMaxReportBytes = 32 << 10;

int64_t NowNanos() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

struct Report {
  std::string bytes;  // empty: the end
  UniqueFd fd;
};

// One packet of a report socket. False: nothing there yet.
bool ReceiveReport(int socket_fd, Report& report) {
  char bytes[kMaxReportBytes];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec piece = {bytes, sizeof bytes};
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t count;
  do {
    count = recvmsg(socket_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (count < 0 && errno == EINTR);
  if (count < 0 && errno == EAGAIN) return false;
  const cmsghdr* part = CMSG_FIRSTHDR(&message);
  if (part != nullptr && part->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    memcpy(&fd, CMSG_DATA(part), sizeof fd);
    report.fd.Reset(fd);
  }
  // An error is an end as well: the process is gone.
  report.bytes.assign(bytes, count > 0 ? static_cast<size_t>(count) : 0);
  return true;
}

}  // namespace

Supervisor::Supervisor(Sandbox& sandbox, EventLoop loop)
    : sandbox_(sandbox), loop_(std::move(loop)), on_owner_exit_(sandbox.spec.on_owner_exit) {}

Status Supervisor::Run() {
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGCHLD);
  if (sigprocmask(SIG_BLOCK, &blocked, nullptr) != 0) return Errno("sigprocmask");
  signals_.Reset(signalfd(-1, &blocked, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return Errno("signalfd");
  Status watched = loop_.Watch(signals_.get(), EPOLLIN, [this](uint32_t) { OnSignal(); });
  if (!watched.ok()) return watched;
  watched = loop_.Watch(sandbox_.listener.get(), EPOLLIN, [this](uint32_t) { OnConnect(); });
  if (!watched.ok()) return watched;
  Status ran = loop_.Run();
  if (remove_traces_) RemoveOwnTraces();
  return ran;
}

void Supervisor::OnReport(Container& container) {
  for (;;) {
    Report report;
    if (!ReceiveReport(container.report.get(), report)) return;
    if (report.bytes.empty()) break;
    const char kind = report.bytes[0];
    if (kind == kReportTerminal && report.fd) {
      // Without its terminal the process cannot be served: it is ended, and its exit tells.
      if (!container.relay->TakeTerminal(std::move(report.fd)).ok()) {
        SignalContainer(container, SIGKILL);
      }
    } else if (kind == kReportChild && report.fd) {
      TakeChild(container, std::move(report.fd));
    } else if (kind == kReportReady) {
      container.ready = true;
    } else {
      return OnStartFailed(container, report.bytes);
    }
  }
  if (container.ready) return OnStarted(container);
  OnStartFailed(container,
                EncodeFailure("clone", {0, "it was killed while starting", container.id, {}}));
}

void Supervisor::TakeChild(Container& container, UniqueFd pidfd) {
  Result<pid_t> pid = sandbox_.procfs.PidOf(pidfd.get());
  Result<int64_t> ticks = pid.ok() ? sandbox_.procfs.StartTicks(pid.value()) : pid.failure();
  container.pidfd = std::move(pidfd);
  if (pid.ok() && ticks.ok()) {
    container.pid = pid.value();
    container.start_ticks = ticks.value();
    return;
  }
  // Nobody else would ever end it.
  SignalContainer(container, SIGKILL);
}

void Supervisor::OnStarted(Container& container) {
  loop_.Forget(container.report.get());
  container.report.Reset();
  container.state = ContainerState::kRunning;
  container.exit.started_at_nanos = NowNanos();
  Connection* requester = FindClient(container.requester);
  if (requester == nullptr) return;
  requester->Send(FrameType::kStarted, container.request_id,
                  RecordWriter()
                      .Bytes(StartedField::kId, container.id)
                      .Number(StartedField::kPid, container.pid)
                      .Number(StartedField::kStartTicks, container.start_ticks)
                      .Number(StartedField::kStartedAtNanos, container.exit.started_at_nanos)
                      .bytes());
}

void Supervisor::OnStartFailed(Container& container, const std::string& failed_record) {
  loop_.Forget(container.report.get());
  container.report.Reset();
  container.failed = true;
  Connection* requester = FindClient(container.requester);
  if (requester == nullptr) return;
  requester->Send(FrameType::kFailed, container.request_id, failed_record);
}

void Supervisor::OnSignal() {
  signalfd_siginfo info;
  while (read(signals_.get(), &info, sizeof info) > 0) continue;
  ReapChildren();
}

void Supervisor::ReapChildren() {
  // A process that goes on in another says so before either ends: whose end is whose is known then.
  for (const auto& container : containers_) {
    if (container->report) OnReport(*container);
  }
  for (;;) {
    int wait_status = 0;
    const pid_t pid = waitpid(-1, &wait_status, WNOHANG);
    if (pid < 0 && errno == EINTR) continue;
    if (pid <= 0) break;
    if (FinishOperation(pid, wait_status)) continue;
    const auto ended =
        std::find_if(containers_.begin(), containers_.end(),
                     [pid](const auto& each) { return each->pid == pid && !each->reaped; });
    if (ended != containers_.end()) {
      OnExit(**ended, wait_status);
    } else {
      // An orphan that was given to us (PR_SET_CHILD_SUBREAPER).
      RememberOrphan(pid, wait_status);
    }
  }
  CheckEnded();
}

void Supervisor::OnExit(Container& container, int wait_status) {
  // What it reported comes before its end.
  const pid_t ended = container.pid;
  if (container.report) OnReport(container);
  // It was the process that made the container's own one.
  if (container.pid != ended) return;
  container.reaped = true;
  RemoveExecCgroup(container);
  if (container.oci && container.oci->operation > 0) {
    // STARTED, or FAILED, follows when the runtime has said which.
    container.oci->early_wait_status = wait_status;
    return;
  }
  if (container.failed) {
    containers_.remove_if([&container](const auto& other) { return other.get() == &container; });
    return;
  }
  ExitRecord& exit = container.exit;
  exit.finished_at_nanos = NowNanos();
  exit.signal = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
  exit.exit_code = exit.signal != 0 ? 128 + exit.signal : WEXITSTATUS(wait_status);
  exit.oom_killed =
      exit.exit_code != 0 && CountOomKills(container.cgroups) > container.oom_kills_before;
  // The kernel ends a pid namespace with its first process; in a shared one the rest of the
  // container is ended here.
  if (container.kind == LaunchKind::kContainer && !container.own_pid_namespace) {
    KillCgroups(container.cgroups);
  }
  container.relay->Drain(kDrainPatienceMs, [this, &container] { OnDrained(container); });
}

void Supervisor::OnDrained(Container& container) {
  container.state = ContainerState::kExited;
  const ExitRecord& exit = container.exit;
  if (container.kind == LaunchKind::kContainer) {
    // On failure (a full disk) STATUS still tells how it ended.
    (void)WriteExitRecord(sandbox_.exit_directory.get(), exit);
  }
  const std::string frame = RecordWriter()
                                .Bytes(ExitedField::kId, exit.id)
                                .Number(ExitedField::kExitCode, exit.exit_code)
                                .Number(ExitedField::kSignal, exit.signal)
                                .Number(ExitedField::kOomKilled, exit.oom_killed ? 1 : 0)
                                .Number(ExitedField::kStartedAtNanos, exit.started_at_nanos)
                                .Number(ExitedField::kFinishedAtNanos, exit.finished_at_nanos)
                                .bytes();
  for (const auto& client : clients_) client->Send(FrameType::kExited, 0, frame);
  container.pidfd.Reset();
  if (container.forget_on_exit) {
    containers_.remove_if([&container](const auto& other) { return other.get() == &container; });
  }
  LimitExitedExecs();
  CheckEnded();
}

void Supervisor::RemoveExecCgroup(const Container& container) {
  constexpr size_t kMaxBusyCgroups = 256;
  if (container.own_cgroup.empty()) return;
  busy_cgroups_.push_back(container.own_cgroup);
  const auto is_done = [](const std::string& directory) {
    return rmdir(directory.c_str()) == 0 || errno != EBUSY;
  };
  busy_cgroups_.erase(std::remove_if(busy_cgroups_.begin(), busy_cgroups_.end(), is_done),
                      busy_cgroups_.end());
  if (busy_cgroups_.size() > kMaxBusyCgroups) busy_cgroups_.erase(busy_cgroups_.begin());
}

void Supervisor::LimitExitedExecs() {
  size_t exited = 0;
  for (auto place = containers_.rbegin(); place != containers_.rend(); ++place) {
    const bool counts =
        (*place)->kind == LaunchKind::kExec && (*place)->state == ContainerState::kExited;
    if (!counts || ++exited <= kMaxExitedExecs) continue;
    containers_.erase(std::next(place).base());
    return;
  }
}

void Supervisor::EndSandbox(int64_t grace_ms) {
  const bool first = !ending_;
  ending_ = true;
  if (grace_ms <= 0) {
    KillEverything();
  } else {
    for (const auto& container : containers_) {
      // The pause process ends last: it is the pid namespace of the others.
      if (first && container->kind != LaunchKind::kPause) {
        Signal(*container, container->stop_signal);
      }
    }
    (void)loop_.AddTimer(grace_ms, [this] { KillEverything(); });
  }
  CheckEnded();
}

void Supervisor::KillEverything() {
  for (const auto& container : containers_) Signal(*container, SIGKILL);
  if (remove_traces_) KillCgroups(sandbox_.spec.sandbox_cgroups);
}

void Supervisor::CheckEnded() {
  if (!ending_) return;
  bool others = false;
  Container* pause = nullptr;
  for (const auto& container : containers_) {
    if (container->state == ContainerState::kExited) continue;
    if (container->kind == LaunchKind::kPause) {
      pause = container.get();
    } else {
      others = true;
    }
  }
  if (others) return;
  if (pause != nullptr) return SignalContainer(*pause, SIGKILL);
  // From here on the name leads nowhere.
  (void)unlinkat(sandbox_.run_directory.get(), "control.sock", 0);
  for (const PendingShutdown& shutdown : shutdowns_) {
    Connection* requester = FindClient(shutdown.requester);
    if (requester != nullptr) requester->Send(FrameType::kOk, shutdown.request_id, {});
  }
  shutdowns_.clear();
  loop_.Stop();
}

void Supervisor::RemoveOwnTraces() {
  KillCgroups(sandbox_.spec.sandbox_cgroups);
  DeleteOciContainers();
  RemoveCgroups(sandbox_.spec.sandbox_cgroups);
  LeaveCgroups(sandbox_.spec.supervisor_cgroups);
  RemoveCgroups(sandbox_.spec.supervisor_cgroups);
  for (const auto& container : containers_) {
    (void)unlinkat(sandbox_.exit_directory.get(), (container->id + ".json").c_str(), 0);
  }
  (void)unlinkat(sandbox_.run_directory.get(), "exit", AT_REMOVEDIR);
  // Bundles may be left in it.
  (void)RemoveTree(sandbox_.spec.run_directory);
}

}  // namespace cais
