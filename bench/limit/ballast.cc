#include "ballast.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "file.h"
#include "memory.h"

namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;
// What is lent and not used yet: little, since the host takes what is free after two seconds; more
// than anybody uses up between two looks.
constexpr size_t kSpareBytes = size_t{128} << 20;
constexpr int kLookMs = 5;
constexpr int kAhead = -20;

// What the whole machine uses, this program included. Not what it has less what is free: pages that
// a processor keeps for the next who asks are neither.
size_t UsedBytes() {
  static const int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
  if (fd < 0) Fail("cannot open /proc/meminfo");
  std::array<char, 8192> buffer{};
  const ssize_t got = pread(fd, buffer.data(), buffer.size() - 1, 0);
  if (got < 0) Fail("cannot read /proc/meminfo");
  const std::string_view text(buffer.data(), static_cast<size_t>(got));
  size_t kibibytes = 0;
  for (const std::string_view name :
       {"\nBuffers:", "\nCached:", "\nAnonPages:", "\nSlab:", "\nPageTables:"}) {
    const size_t at = text.find(name);
    if (at == std::string_view::npos) continue;
    kibibytes += std::strtoull(text.data() + at + name.size(), nullptr, 10);
  }
  return kibibytes << 10;
}

class Ballast {
 public:
  void Hold(size_t bytes) {
    const size_t wanted = RoundUp(bytes);
    if (wanted > held_) Take(wanted - held_);
    while (wanted < held_) GiveBack(held_ - wanted);
    kept_ = held_;
  }

  void Lend(size_t bytes) {
    kept_ = held_ - std::min(held_, RoundUp(bytes));
    const size_t used = UsedBytes();
    limit_ = used - std::min(used, kSpareBytes);
    Look();
  }

  [[nodiscard]] bool is_lending() const { return held_ > kept_; }

  // Gives back what others have used since, so that the machine always uses the same.
  void Look() {
    const size_t used = UsedBytes();
    const size_t surplus = RoundDown(used - std::min(used, limit_));
    for (size_t left = std::min(held_ - kept_, surplus); left > 0;) left -= GiveBack(left);
  }

 private:
  static size_t RoundDown(size_t bytes) { return bytes / kHugePageBytes * kHugePageBytes; }
  static size_t RoundUp(size_t bytes) { return RoundDown(bytes + kHugePageBytes - 1); }

  void Take(size_t bytes) {
    pieces_.emplace_back(static_cast<std::byte*>(TakeMemory(bytes)), bytes);
    held_ += bytes;
  }

  // At most what was taken last.
  size_t GiveBack(size_t bytes) {
    std::span<std::byte>& last = pieces_.back();
    const std::span<std::byte> surplus = last.last(std::min(last.size(), bytes));
    if (munmap(surplus.data(), surplus.size()) != 0) Fail("cannot give memory back");
    held_ -= surplus.size();
    last = last.first(last.size() - surplus.size());
    if (last.empty()) pieces_.pop_back();
    return surplus.size();
  }

  std::vector<std::span<std::byte>> pieces_;
  size_t held_ = 0;
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
