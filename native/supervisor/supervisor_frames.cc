#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>

#include "supervisor/failure_record.h"
#include "supervisor/launch.h"
#include "supervisor/record.h"
#include "supervisor/supervisor.h"

namespace cais {

namespace {

constexpr size_t kMaxClients = 128;
constexpr size_t kMaxContainers = 4096;
constexpr size_t kMaxKeptMounts = 512;
// Fewer than a frame takes, so that namespaces asked for with them fit.
constexpr size_t kMaxGivenMounts = 200;
constexpr size_t kMaxGivenNames = kMaxFrameDescriptors - kMaxGivenMounts;

Failure NotFound(const std::string& id) { return {ESRCH, "no running container", id, "clone"}; }

// Descriptors for containers must remain.
size_t KeptMountsLimit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return kMaxKeptMounts;
  return std::min<size_t>(kMaxKeptMounts, limit.rlim_cur / 2);
}

}  // namespace

void Supervisor::OnConnect() {
  UniqueFd socket(accept4(sandbox_.listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) return;
  ucred peer = {};
  socklen_t length = sizeof peer;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return;
  if ((peer.uid != 0 && peer.uid != getuid()) || clients_.size() >= kMaxClients) return;
  auto client = std::make_unique<Connection>(
      loop_, std::move(socket),
      Connection::Options{
          .serial = next_serial_++,
          .on_frame = [this](Connection& from, Frame frame) { OnFrame(from, std::move(frame)); },
          .on_closed = [this](Connection& from) { OnClosed(from); }});
  if (client->Start().ok()) clients_.push_back(std::move(client));
}

void Supervisor::OnClosed(Connection& client) {
  const bool was_owner = client.is_owner;
  clients_.remove_if([&client](const auto& other) { return other.get() == &client; });
  if (!was_owner || on_owner_exit_ == OnOwnerExit::kKeep) return;
  remove_traces_ = true;
  EndSandbox(0);
}

Connection* Supervisor::FindClient(uint64_t serial) {
  for (const auto& client : clients_) {
    if (client->serial() == serial) return client.get();
  }
  return nullptr;
}

Connection* Supervisor::Owner() {
  for (const auto& client : clients_) {
    if (client->is_owner) return client.get();
  }
  return nullptr;
}

Container* Supervisor::FindRunning(const std::string& id) {
  for (const auto& container : containers_) {
    if (container->id == id && container->state == ContainerState::kRunning) {
      return container.get();
    }
  }
  return nullptr;
}

void Supervisor::Fail(Connection& client, uint32_t request_id, const Failure& failure) {
  const std::string step = failure.code.empty() ? "request" : failure.code;
  client.Send(FrameType::kFailed, request_id, EncodeFailure(step, failure));
}

void Supervisor::OnFrame(Connection& client, Frame frame) {
  if (static_cast<FrameType>(frame.type) == FrameType::kStart) return Start(client, frame);
  RecordReader record(frame.payload);
  Handle(client, frame, record);
}

void Supervisor::Handle(Connection& client, Frame& frame, RecordReader& record) {
  switch (static_cast<FrameType>(frame.type)) {
    case FrameType::kHello:
      return Hello(client, frame, record);
    case FrameType::kStatus:
      return AnswerStatus(client, frame);
    case FrameType::kStop:
      return StopContainers(client, frame, record);
    case FrameType::kGiveDescriptors:
      return GiveDescriptors(client, frame, record);
    case FrameType::kReopenLog:
      return ReopenLog(client, frame, record);
    case FrameType::kResize:
      return Resize(client, frame, record);
    case FrameType::kAttach:
      return Attach(client, frame, record);
    case FrameType::kKeep:
      return Keep(client, frame, record);
    case FrameType::kForget:
      return Forget(client, frame, record);
    case FrameType::kShutdown: {
      const int64_t grace_ms = record.Number(ShutdownField::kGraceMillis);
      Status parsed = record.Finish();
      if (!parsed.ok()) return Fail(client, frame.request_id, parsed.failure());
      shutdowns_.push_back({client.serial(), frame.request_id});
      return EndSandbox(grace_ms);
    }
    default:
      return Fail(client, frame.request_id,
                  {EPROTO, "unknown frame type", std::to_string(frame.type), {}});
  }
}

void Supervisor::Hello(Connection& client, const Frame& frame, RecordReader& record) {
  (void)record.Number(HelloField::kVersion);
  const bool owner = record.Flag(HelloField::kOwner);
  const bool has_policy = record.Has(HelloField::kOnOwnerExit);
  const bool kill = record.Flag(HelloField::kOnOwnerExit);
  Status parsed = record.Finish();
  if (!parsed.ok()) return Fail(client, frame.request_id, parsed.failure());
  Connection* current = Owner();
  if (owner && current != nullptr && current != &client) {
    return Fail(client, frame.request_id,
                {EBUSY, "the sandbox has an owner", sandbox_.spec.id, {}});
  }
  client.is_owner = client.is_owner || owner;
  if (owner && has_policy) on_owner_exit_ = kill ? OnOwnerExit::kKill : OnOwnerExit::kKeep;
  client.Send(FrameType::kWelcome, frame.request_id,
              RecordWriter()
                  .Number(WelcomeField::kVersion, kProtocolVersion)
                  .Bytes(WelcomeField::kSandboxId, sandbox_.spec.id)
                  .Number(WelcomeField::kPid, getpid())
                  .Bytes(WelcomeField::kBootId, sandbox_.boot_id)
                  .bytes());
}

void Supervisor::AnswerStatus(Connection& client, const Frame& frame) {
  RecordWriter answer;
  for (const auto& container : containers_) {
    if (container->failed) continue;
    const ExitRecord& exit = container->exit;
    RecordWriter nested;
    nested.Bytes(ContainerField::kId, container->id)
        .Number(ContainerField::kKind, static_cast<int64_t>(container->kind))
        .Number(ContainerField::kState, static_cast<int64_t>(container->state))
        .Number(ContainerField::kPid, container->pid)
        .Number(ContainerField::kStartTicks, container->start_ticks)
        .Number(ContainerField::kExitCode, exit.exit_code)
        .Number(ContainerField::kSignal, exit.signal)
        .Number(ContainerField::kOomKilled, exit.oom_killed ? 1 : 0)
        .Number(ContainerField::kStartedAtNanos, exit.started_at_nanos)
        .Number(ContainerField::kFinishedAtNanos, exit.finished_at_nanos);
    const LogWriter* log = container->relay ? container->relay->log() : nullptr;
    if (log != nullptr) {
      nested.Number(ContainerField::kLogEntriesDropped,
                    static_cast<int64_t>(log->dropped_entries()));
    }
    answer.Bytes(StatusField::kContainer, nested.bytes());
  }
  answer.Number(StatusField::kHasOwner, Owner() != nullptr ? 1 : 0);
  client.Send(FrameType::kStatusAnswer, frame.request_id, answer.bytes());
}

void Supervisor::StopContainers(Connection& client, const Frame& frame, RecordReader& record) {
  const std::string id = record.Text(StopField::kId);
  const int64_t signal = record.Number(StopField::kSignal, SIGTERM);
  if (signal < 1 || signal > SIGRTMAX) record.Refuse("no such signal");
  Status parsed = record.Finish();
  if (!parsed.ok()) return Fail(client, frame.request_id, parsed.failure());
  bool found = id.empty();
  for (const auto& container : containers_) {
    if (!id.empty() && container->id != id) continue;
    found = true;
    Signal(*container, static_cast<int>(signal));
  }
  // To stop what has ended is success; what never was is an error of the caller.
  if (!found) return Fail(client, frame.request_id, NotFound(id));
  client.Send(FrameType::kOk, frame.request_id, {});
}

void Supervisor::GiveDescriptors(Connection& client, const Frame& frame, RecordReader& record) {
  const std::vector<std::string> wanted = record.Texts(GiveField::kWhat);
  const std::vector<std::string> keys = record.Texts(GiveField::kKey);
  if (wanted.size() > kMaxGivenNames) record.Refuse("too many descriptors");
  Status parsed = record.Finish();
  if (!parsed.ok()) return Fail(client, frame.request_id, parsed.failure());
  RecordWriter answer;
  std::vector<UniqueFd> opened;
  std::vector<int> fds;
  bool with_mounts = false;
  size_t given_mounts = 0;
  for (const std::string& what : wanted) {
    if (what == "layers") {
      if (with_mounts) continue;
      with_mounts = true;
      for (const auto& [key, fd] : kept_) {
        if (!keys.empty() && std::find(keys.begin(), keys.end(), key) == keys.end()) continue;
        if (++given_mounts > kMaxGivenMounts) break;
        answer.Bytes(DescriptorsField::kKey, key);
        fds.push_back(fd.get());
      }
      continue;
    }
    pid_t pid = 0;
    if (what == "pid") {
      for (const auto& container : containers_) {
        const bool pause = container->kind == LaunchKind::kPause;
        if (pause && container->state == ContainerState::kRunning) pid = container->pid;
      }
      if (pid == 0) return Fail(client, frame.request_id, NotFound("pause"));
    } else if (what == "user") {
      if (!sandbox_.user_namespace) return Fail(client, frame.request_id, NotFound("user"));
      fds.push_back(sandbox_.user_namespace.get());
      continue;
    } else if (what != "net" && what != "ipc" && what != "uts") {
      return Fail(client, frame.request_id, {EINVAL, "no such descriptor", what, {}});
    }
    Result<UniqueFd> fd = sandbox_.procfs.OpenNamespace(pid, what.c_str());
    if (!fd.ok()) return Fail(client, frame.request_id, fd.failure());
    fds.push_back(fd.value().get());
    opened.push_back(std::move(fd.value()));
  }
  client.Send(FrameType::kDescriptors, frame.request_id, answer.bytes(), fds);
}

void Supervisor::Keep(Connection& client, Frame& frame, RecordReader& record) {
  const std::vector<std::string> keys = record.Texts(KeepField::kKey);
  if (keys.size() != frame.fds.size()) record.Refuse("not one descriptor for each key");
  Status parsed = record.Finish();
  if (!parsed.ok()) return Fail(client, frame.request_id, parsed.failure());
  const auto added = std::count_if(keys.begin(), keys.end(),
                                   [this](const auto& key) { return kept_.count(key) == 0; });
  if (kept_.size() + static_cast<size_t>(added) > KeptMountsLimit()) {
    return Fail(client, frame.request_id, {EMFILE, "too many mounts to keep", {}, {}});
  }
  for (size_t i = 0; i < keys.size(); ++i) kept_[keys[i]] = std::move(frame.fds[i]);
  client.Send(FrameType::kOk, frame.request_id, {});
}

void Supervisor::Start(Connection& client, Frame& frame) {
  Result<LaunchSpec> spec = ParseLaunchSpec(frame.payload);
  if (!spec.ok()) {
    spec.failure().code = "clone";
    return Fail(client, frame.request_id, spec.failure());
  }
  const auto refuse = [&](int error, const char* why, const std::string& what) {
    Fail(client, frame.request_id, {error, why, what, "clone"});
  };
  if (ending_) return refuse(ESHUTDOWN, "the sandbox is ending", sandbox_.spec.id);
  if (containers_.size() >= kMaxContainers) return refuse(EAGAIN, "too many containers", {});
  for (const auto& container : containers_) {
    if (container->id == spec.value().id) return refuse(EEXIST, "the id is taken", container->id);
  }
  if (spec.value().kind == LaunchKind::kPause && sandbox_.user_namespace) {
    // A small user namespace may have no nobody: any id but root's will do.
    Credentials& credentials = spec.value().credentials;
    credentials.uid = std::min(credentials.uid, sandbox_.spec.id_maps.uids[0].length - 1);
    credentials.gid = std::min(credentials.gid, sandbox_.spec.id_maps.gids[0].length - 1);
  }
  LaunchRequest request;
  request.spec = &spec.value();
  request.sandbox = &sandbox_;
  request.loop = &loop_;
  request.fds = std::move(frame.fds);
  if (spec.value().kind == LaunchKind::kExec) {
    request.exec_target = FindRunning(spec.value().exec_target);
    request.pid_source = request.exec_target;
    if (request.exec_target == nullptr) {
      return refuse(ESRCH, "no running container", spec.value().exec_target);
    }
  } else if (spec.value().kind == LaunchKind::kContainer) {
    if (spec.value().pid_namespace == PidNamespace::kTarget) {
      request.pid_source = FindRunning(spec.value().pid_target);
    } else if (spec.value().pid_namespace == PidNamespace::kPod) {
      for (const auto& container : containers_) {
        if (container->kind == LaunchKind::kPause) request.pid_source = FindRunning(container->id);
      }
    }
    const bool shared = spec.value().pid_namespace == PidNamespace::kTarget ||
                        spec.value().pid_namespace == PidNamespace::kPod;
    if (shared && request.pid_source == nullptr) {
      return refuse(ESRCH, "no running process with that pid namespace", spec.value().pid_target);
    }
  }
  const bool by_oci_runtime = !spec.value().oci.program.empty() ||
                              (request.exec_target != nullptr && request.exec_target->oci);
  if (by_oci_runtime) return StartOci(client, frame.request_id, request);
  Result<std::unique_ptr<Container>> launched = Launch(std::move(request));
  if (!launched.ok()) return Fail(client, frame.request_id, launched.failure());
  Container& container = *launched.value();
  container.requester = client.serial();
  container.request_id = frame.request_id;
  containers_.push_back(std::move(launched.value()));
  Status watched = loop_.Watch(container.report.get(), EPOLLIN,
                               [this, &container](uint32_t) { OnReport(container); });
  if (!watched.ok()) {
    watched.failure().code = "clone";
    SignalContainer(container, SIGKILL);
    OnStartFailed(container, EncodeFailure("clone", watched.failure()));
  }
}

void Supervisor::ReopenLog(Connection& client, const Frame& frame, RecordReader& record) {
  const std::string id = record.Text(ReopenLogField::kId);
  Status status = record.Finish();
  Container* container = FindRunning(id);
  if (status.ok() && container == nullptr) status = NotFound(id);
  if (status.ok() && container->relay->log() == nullptr) {
    status = Failure{ENOENT, "the container has no log", id, "log"};
  }
  if (status.ok()) {
    status = container->relay->log()->Reopen();
    if (!status.ok()) status.failure().code = "log";
  }
  if (!status.ok()) return Fail(client, frame.request_id, status.failure());
  client.Send(FrameType::kOk, frame.request_id, {});
}

void Supervisor::Resize(Connection& client, const Frame& frame, RecordReader& record) {
  const std::string id = record.Text(ResizeField::kId);
  const int64_t rows = record.Number(ResizeField::kRows);
  const int64_t columns = record.Number(ResizeField::kColumns);
  if (rows < 0 || rows > UINT16_MAX || columns < 0 || columns > UINT16_MAX) {
    record.Refuse("a window of that size cannot be");
  }
  Status status = record.Finish();
  Container* container = FindRunning(id);
  if (status.ok() && container == nullptr) status = NotFound(id);
  if (status.ok()) {
    status = container->relay->Resize(static_cast<uint16_t>(rows), static_cast<uint16_t>(columns));
  }
  if (!status.ok()) return Fail(client, frame.request_id, status.failure());
  client.Send(FrameType::kOk, frame.request_id, {});
}

void Supervisor::Attach(Connection& client, Frame& frame, RecordReader& record) {
  const std::string id = record.Text(AttachField::kId);
  Attachment::Options wants;
  wants.wants_stdin = record.Flag(AttachField::kStdin);
  wants.wants_stdout = record.Flag(AttachField::kStdout);
  wants.wants_stderr = record.Flag(AttachField::kStderr);
  if (frame.fds.size() != 1) record.Refuse("not one descriptor");
  Status status = record.Finish();
  Container* container = FindRunning(id);
  if (status.ok() && container == nullptr) status = NotFound(id);
  if (status.ok()) status = container->relay->Attach(std::move(frame.fds[0]), wants);
  if (!status.ok()) return Fail(client, frame.request_id, status.failure());
  client.Send(FrameType::kOk, frame.request_id, {});
}

void Supervisor::Forget(Connection& client, const Frame& frame, RecordReader& record) {
  const std::string id = record.Text(ForgetField::kId);
  Status parsed = record.Finish();
  if (!parsed.ok()) return Fail(client, frame.request_id, parsed.failure());
  for (const auto& container : containers_) {
    if (container->id != id || container->state == ContainerState::kExited) continue;
    return Fail(client, frame.request_id, {EBUSY, "the container has not ended", id, {}});
  }
  containers_.remove_if([&id](const auto& container) { return container->id == id; });
  client.Send(FrameType::kOk, frame.request_id, {});
}

}  // namespace cais
