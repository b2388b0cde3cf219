#include "ballast.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <iostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "file.h"
#include "memory.h"

namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;

class Ballast {
 public:
  void Hold(size_t bytes) {
    const size_t wanted = (bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
    if (wanted > held_) Take(wanted - held_);
    while (wanted < held_) GiveBack(held_ - wanted);
  }

 private:
  void Take(size_t bytes) {
    pieces_.emplace_back(static_cast<std::byte*>(TakeMemory(bytes)), bytes);
    held_ += bytes;
  }

  // At most what was taken last.
  void GiveBack(size_t bytes) {
    std::span<std::byte>& last = pieces_.back();
    const std::span<std::byte> surplus = last.last(std::min(last.size(), bytes));
    if (munmap(surplus.data(), surplus.size()) != 0) Fail("cannot give memory back");
    held_ -= surplus.size();
    last = last.first(last.size() - surplus.size());
    if (last.empty()) pieces_.pop_back();
  }

  std::vector<std::span<std::byte>> pieces_;
  size_t held_ = 0;
};

[[noreturn]] void FailToUnderstand(const std::string& line) {
  errno = 0;
  Fail("ballast: cannot understand \"" + line + "\"");
}

size_t ParseHold(const std::string& line) {
  constexpr std::string_view kHold = "hold ";
  size_t bytes = 0;
  if (!line.starts_with(kHold)) FailToUnderstand(line);
  const char* const end = line.data() + line.size();
  const auto [parsed, error] = std::from_chars(line.data() + kHold.size(), end, bytes);
  if (error != std::errc() || parsed != end) FailToUnderstand(line);
  return bytes;
}

}  // namespace

void KeepBallast() {
  Ballast ballast;
  for (std::string line; std::getline(std::cin, line);) {
    ballast.Hold(ParseHold(line));
    std::puts("held");
    std::fflush(stdout);
  }
}
