#ifndef BENCH_LIMIT_MEMORY_USE_H_
#define BENCH_LIMIT_MEMORY_USE_H_

#include <cstddef>

// What the whole machine uses, this program included. Not what it has less what is free: pages that
// a processor keeps for the next who asks are neither.
[[nodiscard]] size_t UsedBytes();

// What may be taken without a need to put anything else away.
[[nodiscard]] size_t AvailableBytes();

#endif  // BENCH_LIMIT_MEMORY_USE_H_
