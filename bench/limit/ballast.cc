#include "ballast.h"

#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>

#include "file.h"
#include "memory_file.h"
#include "memory_use.h"

namespace {

// What is lent and not used yet: little, since the host takes what is free after two seconds; more
// than anybody uses up between two looks.
constexpr size_t kSpareBytes = size_t{128} << 20;
constexpr int kLookMs = 5;
constexpr int kAhead = -20;

class Ballast {
 public:
  void Hold(size_t bytes) {
    memory_.Resize(RoundUp(bytes));
    kept_ = memory_.size();
  }

  void Lend(size_t bytes) {
    kept_ = memory_.size() - std::min(memory_.size(), RoundUp(bytes));
    const size_t used = UsedBytes();
    limit_ = used - std::min(used, kSpareBytes);
    // What others free in between must not make it less.
    GiveBack(used);
  }

  [[nodiscard]] bool is_lending() const { return memory_.size() > kept_; }

  // Gives back what others have used since, so that the machine always uses the same.
  void Look() { GiveBack(UsedBytes()); }

 private:
  void GiveBack(size_t used) {
    const size_t surplus = RoundDown(used - std::min(used, limit_));
    memory_.Resize(memory_.size() - std::min(memory_.size() - kept_, surplus));
  }

  static size_t RoundDown(size_t bytes) {
    return bytes / MemoryFile::kStepBytes * MemoryFile::kStepBytes;
  }
  static size_t RoundUp(size_t bytes) { return RoundDown(bytes + MemoryFile::kStepBytes - 1); }

  MemoryFile memory_;
  size_t kept_ = 0;   // of that, what is not lent
  size_t limit_ = 0;  // what the machine may use, while it lends
};

void Obey(Ballast& ballast, const std::string& line) {
  const size_t space = line.find(' ');
  const std::string_view verb = std::string_view(line).substr(0, space);
  size_t bytes = 0;
  const char* const end = line.data() + line.size();
  const char* const digits = space == std::string::npos ? end : line.data() + space + 1;
  const auto [parsed, error] = std::from_chars(digits, end, bytes);
  if ((verb != "hold" && verb != "lend") || error != std::errc() || parsed != end) {
    errno = 0;
    Fail("ballast: cannot understand \"" + line + "\"");
  }
  if (verb == "hold") {
    ballast.Hold(bytes);
  } else {
    ballast.Lend(bytes);
  }
  std::puts("done");
  std::fflush(stdout);
}

}  // namespace

void KeepBallast() {
  // Late, it would leave the others without. Where it may not, it takes its turn.
  (void)setpriority(PRIO_PROCESS, 0, kAhead);
  Ballast ballast;
  std::string input;
  for (;;) {
    pollfd wait{STDIN_FILENO, POLLIN, 0};
    const int ready = poll(&wait, 1, ballast.is_lending() ? kLookMs : -1);
    if (ready < 0 && errno != EINTR) Fail("poll");
    if (ready <= 0) {
      if (ballast.is_lending()) ballast.Look();
      continue;
    }
    char buffer[256];
    const ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
    if (got < 0) Fail("cannot read what to do");
    if (got == 0) return;
    input.append(buffer, static_cast<size_t>(got));
    for (size_t end = input.find('\n'); end != std::string::npos; end = input.find('\n')) {
      Obey(ballast, input.substr(0, end));
      input.erase(0, end + 1);
    }
  }
}
