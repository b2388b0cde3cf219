#include "layer/sparse_plan.h"

namespace cais {
namespace {

// A chunk number of 16 TiB cut into the smallest piece still has fewer bits than this.
constexpr uint32_t kMaxChunkShift = 31;

SparsePlan PlanWithShift(uint64_t size, std::span<const DataRun> runs, uint32_t shift) {
  SparsePlan plan;
  plan.chunk_shift = shift;
  const uint64_t chunk_bytes = plan.ChunkBytes();
  plan.chunk_count = (size + chunk_bytes - 1) / chunk_bytes;
  // Counted, not visited: a run that is not aligned has all its chunks copied.
  uint64_t next_free = 0;
  const auto copy = [&](uint64_t first, uint64_t end) {
    if (first < next_free) first = next_free;
    if (first >= end) return;
    plan.copied_chunks += end - first;
    next_free = end;
  };
  for (const DataRun& run : runs) {
    if (run.length == 0) continue;
    const uint64_t end = run.file_offset + run.length;
    const uint64_t first = run.file_offset / chunk_bytes;
    const uint64_t after_last = (end - 1) / chunk_bytes + 1;
    const bool aligned = run.tar_offset % 512 == run.file_offset % 512;
    const uint64_t whole_first = (run.file_offset + chunk_bytes - 1) / chunk_bytes;
    const uint64_t whole_end = end == size ? after_last : end / chunk_bytes;
    if (!aligned || whole_first >= whole_end) {
      copy(first, after_last);
      continue;
    }
    copy(first, whole_first);
    next_free = whole_end;
    copy(whole_end, after_last);
  }
  return plan;
}

}  // namespace

SparsePlan PlanSparseFile(uint64_t size, std::span<const DataRun> runs) {
  SparsePlan best = PlanWithShift(size, runs, 0);
  for (uint32_t shift = 1; shift <= kMaxChunkShift; ++shift) {
    const SparsePlan plan = PlanWithShift(size, runs, shift);
    if (plan.CostBytes() < best.CostBytes()) best = plan;
    if (plan.chunk_count <= 1) break;
  }
  return best;
}

}  // namespace cais
