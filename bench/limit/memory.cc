#include "memory.h"

#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "file.h"

namespace {

// Touching so much takes about two seconds when the machine has it.
constexpr size_t kLittleBytes = size_t{8} << 30;
// Left alone, for whoever needs memory meanwhile.
constexpr size_t kMarginBytes = size_t{512} << 20;

size_t FreeBytes() {
  struct sysinfo info {};
  if (sysinfo(&info) != 0) Fail("sysinfo");
  return size_t{info.freeram} * info.mem_unit;
}

// In huge pages where they can be had: the host takes back nothing smaller.
void* TouchMemory(size_t bytes) {
  void* const memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Fail("cannot take memory");
  (void)madvise(memory, bytes, MADV_HUGEPAGE);
  if (madvise(memory, bytes, MADV_POPULATE_WRITE) != 0) Fail("cannot touch memory");
  return memory;
}

}  // namespace

void MakeMemoryResident(size_t bytes) {
  const size_t free = FreeBytes();
  if (free <= kLittleBytes && free > kMarginBytes) bytes = std::max(bytes, free - kMarginBytes);
  munmap(TouchMemory(bytes), bytes);
}

void HoldMemory(size_t free_bytes) {
  const size_t free = FreeBytes();
  if (free > free_bytes) (void)TouchMemory(free - free_bytes);
  std::puts("{}");
  std::fflush(stdout);
  char byte = 0;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
}
