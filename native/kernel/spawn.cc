#include "kernel/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "kernel/unique_fd.h"

namespace cais {

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxAnswerBytes = 64 << 10;
// How long one poll lasts at most before `abandoned` is asked again.
constexpr int64_t kPollSliceMs = 200;
// Descriptors are moved above the numbers that the child gets before they are duplicated there.
constexpr int kFirstFreeFd = 10;

// Tags of the answer, see native/supervisor/PROTOCOL.md.
enum AnswerTag : uint16_t {
  kStep = 1,
  kErrno = 2,
  kPath = 3,
  kMessage = 4,
  kSupervisorPid = 5,
  kStartTicks = 6,
};

Result<UniqueFd> MoveUp(UniqueFd fd) {
  UniqueFd moved(fcntl(fd.get(), F_DUPFD_CLOEXEC, kFirstFreeFd));
  if (!moved) return Errno("duplicate descriptor");
  return moved;
}

Result<UniqueFd> SealedFile(const std::string& bytes) {
  UniqueFd file(memfd_create("cais-spec", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) return Errno("memfd_create");
  for (size_t written = 0; written < bytes.size();) {
    const ssize_t count = write(file.get(), bytes.data() + written, bytes.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Errno("write spec");
    written += static_cast<size_t>(count);
  }
  if (lseek(file.get(), 0, SEEK_SET) < 0) return Errno("lseek spec");
  if (fcntl(file.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) !=
      0) {
    return Errno("seal spec");
  }
  return MoveUp(std::move(file));
}

// posix_spawn's two parameter objects, destroyed together.
class SpawnParameters {
 public:
  SpawnParameters() {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
  }
  ~SpawnParameters() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnParameters(const SpawnParameters&) = delete;
  SpawnParameters& operator=(const SpawnParameters&) = delete;

  // Zero or an errno value, as posix_spawn's own functions.
  int Prepare(int spec_fd, int answer_fd) {
    sigset_t all;
    sigset_t none;
    sigfillset(&all);
    sigemptyset(&none);
    int error = posix_spawn_file_actions_adddup2(&actions_, spec_fd, 0);
    if (error == 0) error = posix_spawn_file_actions_addopen(&actions_, 1, "/dev/null", O_RDWR, 0);
    if (error == 0) error = posix_spawn_file_actions_addopen(&actions_, 2, "/dev/null", O_RDWR, 0);
    if (error == 0) error = posix_spawn_file_actions_adddup2(&actions_, answer_fd, 3);
    if (error == 0) error = posix_spawn_file_actions_addclosefrom_np(&actions_, 4);
    if (error == 0) error = posix_spawnattr_setsigmask(&attributes_, &none);
    if (error == 0) error = posix_spawnattr_setsigdefault(&attributes_, &all);
    if (error == 0) {
      error =
          posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    }
    return error;
  }

  int Spawn(const std::string& executable, pid_t* pid) {
    std::string path = executable;
    char mode[] = "sandbox";
    char* arguments[] = {path.data(), mode, nullptr};
    char* environment[] = {nullptr};
    return posix_spawn(pid, executable.c_str(), &actions_, &attributes_, arguments, environment);
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

int64_t LeftMs(Clock::time_point deadline) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
}

Failure TimedOut(const SpawnOptions& options) {
  return Refuse("TIMED_OUT", "The supervisor \"" + options.executable + "\" did not start within " +
                                 std::to_string(options.timeout_ms) + " ms");
}

// Everything that the program writes to its answer pipe, until it closes it.
Result<std::string> ReadAnswer(int fd, const SpawnOptions& options, Clock::time_point deadline) {
  std::string answer;
  for (;;) {
    const int64_t left_ms = LeftMs(deadline);
    if (left_ms <= 0 || (options.abandoned && options.abandoned())) return TimedOut(options);
    pollfd entry = {fd, POLLIN, 0};
    const int ready = poll(&entry, 1, static_cast<int>(std::min(left_ms, kPollSliceMs)));
    if (ready < 0 && errno != EINTR) return Errno("poll");
    if (ready <= 0) continue;
    char piece[4096];
    const ssize_t count = read(fd, piece, sizeof piece);
    if (count < 0) return Errno("read answer of the supervisor");
    if (count == 0) return answer;
    answer.append(piece, static_cast<size_t>(count));
    if (answer.size() > kMaxAnswerBytes) {
      return Refuse("BAD_ANSWER", "The supervisor's answer is longer than 64 KiB");
    }
  }
}

// The answer record: a pid, or the Failure that it tells.
Result<pid_t> ParseAnswer(const std::string& answer) {
  const Failure malformed = Refuse("BAD_ANSWER", "The supervisor ended without a proper answer");
  Failure failure;
  std::string message;
  pid_t pid = 0;
  for (size_t offset = 0; offset < answer.size();) {
    constexpr size_t kFieldHeaderBytes = 8;
    if (answer.size() - offset < kFieldHeaderBytes) return malformed;
    uint16_t tag;
    uint32_t length;
    memcpy(&tag, answer.data() + offset, sizeof tag);
    memcpy(&length, answer.data() + offset + 4, sizeof length);
    offset += kFieldHeaderBytes;
    if (answer.size() - offset < length) return malformed;
    const std::string bytes = answer.substr(offset, length);
    offset += length;
    int64_t number = 0;
    if (tag == kErrno || tag == kSupervisorPid) {
      if (length != sizeof number) return malformed;
      memcpy(&number, bytes.data(), sizeof number);
    }
    switch (tag) {
      case kStep:
        failure.step = bytes;
        break;
      case kErrno:
        failure.error = static_cast<int>(number);
        break;
      case kPath:
        failure.path = bytes;
        break;
      case kMessage:
        message = bytes;
        break;
      case kSupervisorPid:
        pid = static_cast<pid_t>(number);
        break;
      case kStartTicks:  // read from /proc here, by who will compare it
        break;
      default:
        if (tag < 0x8000) return malformed;
    }
  }
  if (pid > 0) return pid;
  if (failure.step.empty() && message.empty()) return malformed;
  if (failure.error == 0) {
    failure.path = "The supervisor failed at step \"" + failure.step + "\"" +
                   (failure.path.empty() ? "" : " on \"" + failure.path + "\"") + ": " + message;
  } else if (failure.path.empty()) {
    failure.path = message;
  }
  failure.code = failure.error == 0 ? "SUPERVISOR_FAILED" : "";
  return failure;
}

// Reaps the intermediate process. False: it has not ended at the deadline.
bool Reap(pid_t pid, Clock::time_point deadline) {
  // Polling a pidfd would need a second descriptor; the process exits right after its answer, so
  // that this loop turns once or twice.
  for (int pause_us = 100;; pause_us = std::min(pause_us * 2, 10'000)) {
    const pid_t ended = waitpid(pid, nullptr, WNOHANG);
    if (ended == pid || (ended < 0 && errno != EINTR)) return true;
    if (LeftMs(deadline) <= 0) return false;
    usleep(static_cast<useconds_t>(pause_us));
  }
}

}  // namespace

Result<uint64_t> ReadStartTicks(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/stat";
  UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return Errno("open", path);
  char text[1024];
  const ssize_t count = read(file.get(), text, sizeof text - 1);
  if (count < 0) return Errno("read", path);
  text[count] = '\0';
  // The second field is the name in parentheses and may hold spaces and parentheses itself.
  const char* position = strrchr(text, ')');
  constexpr int kFieldsBetween = 20;  // from field 3 to field 22
  for (int i = 0; position != nullptr && i < kFieldsBetween; ++i) {
    position = strchr(position + 1, ' ');
  }
  if (position == nullptr) return Refuse("BAD_ANSWER", "Cannot understand \"" + path + "\"");
  return strtoull(position, nullptr, 10);
}

Result<SpawnedProcess> SpawnSupervisorProcess(const SpawnOptions& options) {
  const Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(options.timeout_ms);
  Result<UniqueFd> spec = SealedFile(options.spec);
  if (!spec.ok()) return spec.failure();
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Errno("pipe2");
  UniqueFd answer_read(ends[0]);
  Result<UniqueFd> answer_write = MoveUp(UniqueFd(ends[1]));
  if (!answer_write.ok()) return answer_write.failure();

  SpawnParameters parameters;
  int error = parameters.Prepare(spec.value().get(), answer_write.value().get());
  if (error != 0) return Failure{error, "prepare posix_spawn", options.executable, {}};
  pid_t intermediate = 0;
  error = parameters.Spawn(options.executable, &intermediate);
  if (error != 0) return Failure{error, "start", options.executable, {}};
  answer_write.value().Reset();

  Result<std::string> answer = ReadAnswer(answer_read.get(), options, deadline);
  if (!answer.ok() || !Reap(intermediate, deadline)) {
    // The program is a session leader by then (or has no child yet): its group is all of it.
    (void)kill(-intermediate, SIGKILL);
    (void)kill(intermediate, SIGKILL);
    (void)waitpid(intermediate, nullptr, 0);
    return answer.ok() ? TimedOut(options) : answer.failure();
  }
  Result<pid_t> pid = ParseAnswer(answer.value());
  if (!pid.ok()) return pid.failure();
  Result<uint64_t> start_ticks = ReadStartTicks(pid.value());
  if (!start_ticks.ok()) return start_ticks.failure();
  return SpawnedProcess{pid.value(), start_ticks.value()};
}

}  // namespace cais
