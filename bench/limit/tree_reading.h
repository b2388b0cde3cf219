// Reads a whole tree, as a backup or a scanner would: what an image costs its user afterwards.
#ifndef BENCH_LIMIT_TREE_READING_H_
#define BENCH_LIMIT_TREE_READING_H_

#include <cstdint>
#include <string>

#include "stopwatch.h"

struct TreeReading {
  Stopwatch watch;
  uint64_t entries = 0;
  uint64_t bytes = 0;
};

// Visits every entry below `path` on its file system, in the order of the directories, and reads
// every regular file.
[[nodiscard]] TreeReading MeasureReading(const std::string& path);

#endif  // BENCH_LIMIT_TREE_READING_H_
