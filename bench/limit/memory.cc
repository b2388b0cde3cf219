#include "memory.h"

#include <sys/mman.h>

#include "file.h"

// In huge pages where they can be had: the host takes back nothing smaller.
void MakeMemoryResident(size_t bytes) {
  void* const memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Fail("cannot take memory");
  (void)madvise(memory, bytes, MADV_HUGEPAGE);
  if (madvise(memory, bytes, MADV_POPULATE_WRITE) != 0) Fail("cannot touch memory");
  munmap(memory, bytes);
}
