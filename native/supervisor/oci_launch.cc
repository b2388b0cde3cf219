#include "supervisor/oci_launch.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervisor/cgroup_directory.h"
#include "supervisor/failure_record.h"
#include "supervisor/launch_stdio.h"
#include "supervisor/oci_process.h"
#include "supervisor/record.h"

namespace cais {

namespace {

Status WriteFile(const std::string& path, const std::string& text) {
  const UniqueFd file(
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return Errno("create", path);
  const ssize_t count = write(file.get(), text.data(), text.size());
  if (count < 0) return Errno("write", path);
  if (static_cast<size_t>(count) != text.size()) return Failure{ENOSPC, "write", path, {}};
  return Done{};
}

std::unique_ptr<OciContainer> Describe(const LaunchRequest& request) {
  const LaunchSpec& spec = *request.spec;
  auto oci = std::make_unique<OciContainer>();
  const bool exec = spec.kind == LaunchKind::kExec;
  oci->runtime = exec ? request.exec_target->oci->runtime : spec.oci;
  oci->runtime.mounts.clear();
  oci->container_id = exec ? request.exec_target->id : spec.id;
  const std::string base = oci->runtime.bundle + "/" + spec.id;
  oci->log_path = base + ".log";
  oci->pid_path = base + ".pid";
  if (exec) oci->process_path = base + ".json";
  // Short: an id may be longer than the name of a socket.
  static unsigned next_console = 0;
  if (spec.terminal) {
    oci->console_path = oci->runtime.bundle + "/" + std::to_string(next_console++) + ".sock";
  }
  oci->rows = spec.rows;
  oci->columns = spec.columns;
  return oci;
}

std::vector<std::string> StartCommand(const OciContainer& oci, LaunchKind kind) {
  const bool exec = kind == LaunchKind::kExec;
  std::vector<std::string> command =
      exec ? std::vector<std::string>{"exec", "--detach", "--process", oci.process_path}
           : std::vector<std::string>{"create", "--bundle", oci.runtime.bundle};
  command.insert(command.end(), {"--pid-file", oci.pid_path});
  if (!oci.console_path.empty()) {
    command.insert(command.end(), {"--console-socket", oci.console_path});
  }
  command.push_back(oci.container_id);
  return command;
}

Status CheckRequest(const LaunchRequest& request) {
  const LaunchSpec& spec = *request.spec;
  if (spec.terminal && spec.stdio_fds) {
    return Failure{ENOTSUP,
                   "an OCI runtime makes the terminal itself: not for one of the client",
                   spec.id,
                   {}};
  }
  if (spec.kind == LaunchKind::kExec) return Done{};
  bool known = spec.root_index < static_cast<int>(request.fds.size());
  for (const OciMount& mount : spec.oci.mounts) {
    known = known && mount.source_index < static_cast<int>(request.fds.size());
  }
  if (!known) return Failure{EBADF, "the frame has fewer descriptors than the spec names", {}, {}};
  return Done{};
}

void AddMounts(const LaunchRequest& request, RuntimeStart& start) {
  const LaunchSpec& spec = *request.spec;
  if (spec.kind != LaunchKind::kContainer) return;
  const auto fd = [&request](int index) {
    return index < 0 ? -1 : request.fds[static_cast<size_t>(index)].get();
  };
  start.mounts.push_back({spec.oci.bundle + "/rootfs", fd(spec.root_index), {}});
  for (const OciMount& mount : spec.oci.mounts) {
    start.mounts.push_back({mount.path, fd(mount.source_index), mount.sub_path});
  }
  start.directories = spec.directories;
}

}  // namespace

RuntimeStart OciOperation(const Sandbox& sandbox, const OciContainer& oci,
                          const std::string& log_path, const std::vector<std::string>& command) {
  RuntimeStart start;
  start.sandbox = &sandbox;
  start.arguments = OciCommand(oci.runtime, log_path, command);
  start.directory = oci.runtime.bundle;
  start.log_path = log_path;
  start.oom_score_adj = sandbox.inherited_oom_score_adj;
  return start;
}

Result<std::unique_ptr<Container>> LaunchOci(LaunchRequest& request) {
  const LaunchSpec& spec = *request.spec;
  Status checked = CheckRequest(request);
  if (!checked.ok()) return At("clone", checked.failure());
  StdioRelay::Options relay;
  ChildStdio child;
  Status stdio = OpenStdio(spec, request.fds, child, relay);
  if (!stdio.ok()) return stdio.failure();

  auto container = std::make_unique<Container>();
  container->id = spec.id;
  container->kind = spec.kind;
  container->cgroups = request.exec_target != nullptr ? request.exec_target->cgroups : spec.cgroups;
  container->own_pid_namespace =
      spec.kind == LaunchKind::kContainer && spec.pid_namespace == PidNamespace::kOwn;
  container->exec_target = spec.exec_target;
  container->stop_signal = spec.stop_signal;
  container->oom_kills_before = CountOomKills(container->cgroups);
  container->exit.id = spec.id;
  container->forget_on_exit = spec.forget_on_exit;
  container->relay = std::make_unique<StdioRelay>(*request.loop, std::move(relay));
  container->oci = Describe(request);
  OciContainer& oci = *container->oci;
  if (!oci.process_path.empty()) {
    Status written = WriteFile(oci.process_path, OciProcessJson(spec));
    if (!written.ok()) return At("runtime", written.failure());
  }
  if (!oci.console_path.empty()) {
    Status listening = ListenForTerminal(oci);
    if (!listening.ok()) return At("session", listening.failure());
  }

  RuntimeStart start =
      OciOperation(*request.sandbox, oci, oci.log_path, StartCommand(oci, spec.kind));
  // The container gets it by inheritance: no runtime clamps it to what the kernel permits.
  if (spec.has_oom_score_adj) start.oom_score_adj = std::to_string(spec.oom_score_adj);
  if (!spec.terminal) {
    const StdioFds& fds = child.fds;
    start.stdio[0] = fds.in;
    start.stdio[1] = fds.out;
    start.stdio[2] = fds.err;
  }
  AddMounts(request, start);
  Result<pid_t> started = StartRuntime(start);
  if (!started.ok()) {
    RemoveStartFiles(oci);
    return At("runtime", started.failure());
  }
  oci.operation = started.value();
  return container;
}

std::string EncodeRuntimeFailure(const Container& container, int wait_status) {
  std::string text = ReadRuntimeLog(container.oci->log_path);
  if (text.empty()) text = container.relay->TakeEarlyOutput();
  if (text.empty()) {
    text = WIFSIGNALED(wait_status)
               ? "it was killed by signal " + std::to_string(WTERMSIG(wait_status))
               : "it ended with status " + std::to_string(WEXITSTATUS(wait_status));
  }
  return RecordWriter()
      .Bytes(FailedField::kStep, "runtime")
      .Number(FailedField::kErrno, 0)
      .Bytes(FailedField::kPath, container.oci->runtime.program)
      .Bytes(FailedField::kMessage, text)
      .bytes();
}

}  // namespace cais
