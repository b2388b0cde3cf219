// This kind of machine may be a virtual one whose host takes back memory soon after it became free:
// writing to it for the first time again then costs up to four seconds for each GiB, which has
// nothing to do with what is measured.
#ifndef BENCH_LIMIT_MEMORY_H_
#define BENCH_LIMIT_MEMORY_H_

#include <cstddef>

// Takes that much memory and gives it back, so that the machine has it.
void MakeMemoryResident(size_t bytes);

#endif  // BENCH_LIMIT_MEMORY_H_
