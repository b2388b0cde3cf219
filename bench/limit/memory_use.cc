#include "memory_use.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <initializer_list>
#include <string_view>

#include "file.h"

namespace {

// The sum of these lines of /proc/meminfo; what a kernel does not have counts nothing.
size_t SumOf(std::initializer_list<std::string_view> names) {
  static const int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
  if (fd < 0) Fail("cannot open /proc/meminfo");
  std::array<char, 8192> buffer{};
  const ssize_t got = pread(fd, buffer.data(), buffer.size() - 1, 0);
  if (got < 0) Fail("cannot read /proc/meminfo");
  const std::string_view text(buffer.data(), static_cast<size_t>(got));
  size_t kibibytes = 0;
  for (const std::string_view name : names) {
    const size_t at = text.find(name);
    if (at == std::string_view::npos) continue;
    kibibytes += std::strtoull(text.data() + at + name.size(), nullptr, 10);
  }
  return kibibytes << 10;
}

}  // namespace

size_t UsedBytes() {
  return SumOf({"\nBuffers:", "\nCached:", "\nAnonPages:", "\nSlab:", "\nPageTables:"});
}

size_t AvailableBytes() { return SumOf({"\nMemAvailable:"}); }
