#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "kernel/result.h"
#include "layer/layer_end.h"

namespace cais {

// Most pieces of data that one sparse file may have: what a pax header of 1 MiB, the limit of Go's
// reader, could hold.
inline constexpr size_t kMaxSparseRuns = 262'144;

Failure TooManySparseRuns();

// What a sparse map says of one file. All checks of a map are here, whatever its format.
struct SparseFile {
  // Offset in the file and length by turns.
  const std::vector<uint64_t>& map;
  uint64_t file_bytes;
  // Data in the tar: must be what the map adds up to.
  uint64_t stored_bytes;
  uint64_t tar_offset;
};

// Runs in ascending order, none empty, adjacent ones joined. Fails with BAD_TAR without position.
Result<std::vector<DataRun>> RunsOf(const SparseFile& file);

// Reads the map of GNU sparse format 1.0: decimal numbers, a line each: how many runs, then offset
// and length of each; padded with anything to a whole block. Memory grows with the numbers that
// really come, not with the number announced.
class SparseMapParser {
 public:
  Status Feed(std::string_view block);
  bool done() const { return counted_ && numbers_.size() == wanted_; }
  const std::vector<uint64_t>& numbers() const { return numbers_; }

 private:
  Status EndLine();

  bool counted_ = false;
  size_t wanted_ = 0;
  std::vector<uint64_t> numbers_;
  uint64_t number_ = 0;
  int digits_ = 0;
};

}  // namespace cais
