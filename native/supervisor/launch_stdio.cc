#include "supervisor/launch_stdio.h"

#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "supervisor/failure_record.h"
#include "supervisor/log_writer.h"

namespace cais {

namespace {

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Result<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Errno("pipe2");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// Pipes as the spec asks for them; /dev/null where it asks for none, or for a terminal.
Status MakePipes(const LaunchSpec& spec, ChildStdio& child, StdioRelay::Options& relay) {
  UniqueFd null_device(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null_device) return Errno("open", "/dev/null");
  child.owned[0] = std::move(null_device);
  child.fds = {child.owned[0].get(), child.owned[0].get(), child.owned[0].get(), true};
  if (spec.terminal || spec.kind == LaunchKind::kPause) return Done{};
  if (spec.stdin_mode != StdinMode::kNull) {
    Result<Pipe> input = MakePipe();
    if (!input.ok()) return input.failure();
    child.owned[0] = std::move(input.value().read);
    relay.stdin_pipe = std::move(input.value().write);
    Status set = MakeNonBlocking(relay.stdin_pipe.get());
    if (!set.ok()) return set;
  }
  UniqueFd* const ours[] = {&relay.stdout_pipe, &relay.stderr_pipe};
  for (int i = 0; i < 2; ++i) {
    Result<Pipe> output = MakePipe();
    if (!output.ok()) return output.failure();
    *ours[i] = std::move(output.value().read);
    child.owned[i + 1] = std::move(output.value().write);
    Status set = MakeNonBlocking(ours[i]->get());
    if (!set.ok()) return set;
  }
  child.fds = {child.owned[0].get(), child.owned[1].get(), child.owned[2].get(), true};
  return Done{};
}

// The last descriptors of the frame, as the client made them.
Status TakeClientStdio(const LaunchSpec& spec, const std::vector<UniqueFd>& fds,
                       ChildStdio& child) {
  const size_t count = spec.terminal ? 1 : 3;
  if (fds.size() < count) return Failure{EBADF, "stdio descriptors are missing", {}, {}};
  const size_t first = fds.size() - count;
  if (spec.terminal) {
    child.fds = {fds[first].get(), fds[first].get(), fds[first].get(), true};
  } else {
    child.fds = {fds[first].get(), fds[first + 1].get(), fds[first + 2].get(), true};
  }
  return Done{};
}

}  // namespace

Status MakeNonBlocking(int fd) {
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) return Errno("fcntl O_NONBLOCK");
  return Done{};
}

Status OpenStdio(const LaunchSpec& spec, std::vector<UniqueFd>& fds, ChildStdio& child,
                 StdioRelay::Options& relay) {
  Status opened =
      spec.stdio_fds ? TakeClientStdio(spec, fds, child) : MakePipes(spec, child, relay);
  if (!opened.ok()) return At("session", opened.failure());
  if (!spec.log_path.empty() && !spec.stdio_fds) {
    auto log = LogWriter::Open({spec.log_directory, spec.log_path, spec.terminal});
    if (!log.ok()) return At("log", log.failure());
    relay.log = std::move(log.value());
  }
  relay.stdin_mode = spec.stdin_mode;
  if (!spec.terminal_client) return Done{};
  if (fds.empty()) return At("session", {EBADF, "the client's socket is missing", {}, {}});
  relay.terminal_client = std::move(fds.back());
  return Done{};
}

}  // namespace cais
