#include "memory.h"

#include <sys/mman.h>

#include "file.h"

void MakeMemoryResident(size_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) Fail("cannot take memory");
  munmap(memory, bytes);
}
