#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "layer/layer_end.h"

namespace cais {

// How a file whose data is not one run on a 512-byte boundary of the tar is laid out in an image:
// cut into chunks of equal size, each of which is a hole, lies in the tar as it is (its data is one
// run there, on a boundary), or is copied behind the tar.
struct SparsePlan {
  uint32_t chunk_shift = 0;  // a chunk has 512 << chunk_shift bytes
  uint64_t chunk_count = 0;
  uint64_t copied_chunks = 0;

  uint64_t ChunkBytes() const { return uint64_t{512} << chunk_shift; }
  uint64_t CopiedBytes() const { return copied_chunks * ChunkBytes(); }
  // Bytes of the chunk table and of the copies.
  uint64_t CostBytes() const { return 4 * chunk_count + CopiedBytes(); }
};

// Neighbouring chunks that are no holes.
struct ChunkRange {
  uint64_t first_chunk;
  uint64_t count;
  bool copied;
  uint64_t tar_offset;  // of the first chunk, unless copied
};

// The cheapest plan for a file of `size` bytes.
SparsePlan PlanSparseFile(uint64_t size, std::span<const DataRun> runs);

// Calls `visit(ChunkRange)` for what is no hole, in order; a chunk that is copied appears alone and
// once.
template <typename Visit>
void VisitChunks(uint64_t size, std::span<const DataRun> runs, uint64_t chunk_bytes, Visit visit) {
  uint64_t next_free = 0;  // the first chunk not yet visited
  const auto copy = [&](uint64_t chunk) {
    if (chunk < next_free) return;
    next_free = chunk + 1;
    visit(ChunkRange{chunk, 1, true, 0});
  };
  for (const DataRun& run : runs) {
    if (run.length == 0) continue;
    const uint64_t end = run.file_offset + run.length;
    const uint64_t first = run.file_offset / chunk_bytes;
    const uint64_t last = (end - 1) / chunk_bytes;
    const bool aligned = run.tar_offset % 512 == run.file_offset % 512;
    // Chunks that the run covers, up to the end of the file.
    const uint64_t whole_first =
        aligned ? (run.file_offset + chunk_bytes - 1) / chunk_bytes : last + 1;
    const uint64_t whole_end = end == size ? last + 1 : end / chunk_bytes;
    for (uint64_t chunk = first; chunk <= last && chunk < whole_first; ++chunk) copy(chunk);
    if (whole_first < whole_end) {
      next_free = whole_end;
      visit(ChunkRange{whole_first, whole_end - whole_first, false,
                       run.tar_offset + (whole_first * chunk_bytes - run.file_offset)});
    }
    for (uint64_t chunk = whole_first > whole_end ? whole_first : whole_end; chunk <= last;
         ++chunk) {
      copy(chunk);
    }
  }
}

}  // namespace cais
