// Creation of a tree on disk with as few system calls as it takes.
#ifndef BENCH_LIMIT_TREE_CREATION_H_
#define BENCH_LIMIT_TREE_CREATION_H_

#include <string>

#include "stopwatch.h"
#include "tar_entries.h"

// Creates the tree in the new directory `path`. With two threads, the first makes the directories
// in order while the second already fills them; then both take the next directory that is not
// filled yet. A directory is filled by one thread, since two would wait for its lock.
[[nodiscard]] Stopwatch MeasureCreation(const Tree& tree, const std::string& path, int threads);

#endif  // BENCH_LIMIT_TREE_CREATION_H_
