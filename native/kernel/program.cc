#include "kernel/program.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>

#include "kernel/unique_fd.h"

namespace cais {

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxAnswerBytes = 64 << 10;
// How long one poll lasts at most before `abandoned` is asked again.
constexpr int64_t kPollSliceMs = 200;
// Descriptors are moved above the numbers that the child gets before they are duplicated there.
constexpr int kFirstFreeFd = 10;

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
  int Prepare(int spec_fd, int answer_fd, int extra_fd) {
    sigset_t all;
    sigset_t none;
    sigfillset(&all);
    sigemptyset(&none);
    int error = posix_spawn_file_actions_adddup2(&actions_, spec_fd, 0);
    if (error == 0) error = posix_spawn_file_actions_addopen(&actions_, 1, "/dev/null", O_RDWR, 0);
    if (error == 0) error = posix_spawn_file_actions_addopen(&actions_, 2, "/dev/null", O_RDWR, 0);
    if (error == 0) error = posix_spawn_file_actions_adddup2(&actions_, answer_fd, 3);
    if (error == 0 && extra_fd >= 0) {
      error = posix_spawn_file_actions_adddup2(&actions_, extra_fd, 4);
    }
    if (error == 0) {
      error = posix_spawn_file_actions_addclosefrom_np(&actions_, extra_fd >= 0 ? 5 : 4);
    }
    if (error == 0) error = posix_spawnattr_setsigmask(&attributes_, &none);
    if (error == 0) error = posix_spawnattr_setsigdefault(&attributes_, &all);
    if (error == 0) {
      error =
          posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    }
    return error;
  }

  int Spawn(const ProgramStart& start, pid_t* pid) {
    std::string path = start.executable;
    std::string mode = start.mode;
    char* arguments[] = {path.data(), mode.data(), nullptr};
    char* environment[] = {nullptr};
    return posix_spawn(pid, path.c_str(), &actions_, &attributes_, arguments, environment);
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

int64_t LeftMs(Clock::time_point deadline) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
}

Failure TimedOut(const ProgramStart& start) {
  return Refuse("TIMED_OUT", "\"" + start.executable + " " + start.mode +
                                 "\" did not answer within " + std::to_string(start.timeout_ms) +
                                 " ms");
}

// Everything that the program writes to its answer pipe, until it closes it.
Result<std::string> ReadAnswer(int fd, const ProgramStart& start, Clock::time_point deadline) {
  std::string answer;
  for (;;) {
    const int64_t left_ms = LeftMs(deadline);
    if (left_ms <= 0 || (start.abandoned && start.abandoned())) return TimedOut(start);
    pollfd entry = {fd, POLLIN, 0};
    const int ready = poll(&entry, 1, static_cast<int>(std::min(left_ms, kPollSliceMs)));
    if (ready < 0 && errno != EINTR) return Errno("poll");
    if (ready <= 0) continue;
    char piece[4096];
    const ssize_t count = read(fd, piece, sizeof piece);
    if (count < 0) return Errno("read answer of", start.executable);
    if (count == 0) return answer;
    answer.append(piece, static_cast<size_t>(count));
    if (answer.size() > kMaxAnswerBytes) {
      return Refuse("BAD_ANSWER",
                    "The answer of \"" + start.executable + "\" is longer than 64 KiB");
    }
  }
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

struct DirectoryCloser {
  void operator()(DIR* directory) const { (void)closedir(directory); }
};

// Kills every process that has the pipe open as descriptor 3. The program forks and its first half
// ends at once, so at a deadline the pid of what goes on is not known.
void KillHoldersOf(int answer_fd) {
  struct stat pipe = {};
  if (fstat(answer_fd, &pipe) != 0) return;
  const std::string wanted = "pipe:[" + std::to_string(pipe.st_ino) + "]";
  std::unique_ptr<DIR, DirectoryCloser> processes(opendir("/proc"));
  if (processes == nullptr) return;
  while (const dirent* entry = readdir(processes.get())) {
    const pid_t pid = atoi(entry->d_name);
    if (pid <= 0 || pid == getpid()) continue;
    // The descriptor first: it keeps the pid from meaning another process by the time of the kill.
    // By number: the declarations of glibc 2.36 are of no use to C++.
    UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    if (!process) continue;
    char target[64];
    const ssize_t length =
        readlink(("/proc/" + std::to_string(pid) + "/fd/3").c_str(), target, sizeof target);
    if (length < 0 || std::string(target, static_cast<size_t>(length)) != wanted) continue;
    (void)syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
  }
}

}  // namespace

Result<std::string> RunProgram(const ProgramStart& start) {
  const Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(start.timeout_ms);
  Result<UniqueFd> spec = SealedFile(start.spec);
  if (!spec.ok()) return spec.failure();
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Errno("pipe2");
  UniqueFd low_read(ends[0]);
  Result<UniqueFd> answer_write = MoveUp(UniqueFd(ends[1]));
  if (!answer_write.ok()) return answer_write.failure();
  // Never our own descriptor 3: by that number the holders of the other end are found.
  Result<UniqueFd> moved_read = MoveUp(std::move(low_read));
  if (!moved_read.ok()) return moved_read.failure();
  const UniqueFd answer_read = std::move(moved_read.value());
  UniqueFd extra;
  if (start.extra_fd >= 0) {
    extra.Reset(fcntl(start.extra_fd, F_DUPFD_CLOEXEC, kFirstFreeFd));
    if (!extra) return Errno("duplicate descriptor");
  }

  SpawnParameters parameters;
  int error = parameters.Prepare(spec.value().get(), answer_write.value().get(), extra.get());
  if (error != 0) return Failure{error, "prepare posix_spawn", start.executable, {}};
  pid_t child = 0;
  error = parameters.Spawn(start, &child);
  if (error != 0) return Failure{error, "start", start.executable, {}};
  answer_write.value().Reset();

  Result<std::string> answer = ReadAnswer(answer_read.get(), start, deadline);
  if (answer.ok() && Reap(child, deadline)) return answer;
  KillHoldersOf(answer_read.get());
  (void)kill(child, SIGKILL);
  (void)waitpid(child, nullptr, 0);
  return answer.ok() ? TimedOut(start) : answer.failure();
}

}  // namespace cais
