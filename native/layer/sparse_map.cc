#include "layer/sparse_map.h"

#include <string>

namespace cais {

Failure TooManySparseRuns() {
  return Refuse("LIMIT_EXCEEDED", "A sparse file has more than " + std::to_string(kMaxSparseRuns) +
                                      " pieces of data");
}

Result<std::vector<DataRun>> RunsOf(const SparseFile& file) {
  if (file.map.size() % 2 != 0) return Refuse("BAD_TAR", "A sparse map ends in the middle");
  std::vector<DataRun> runs;
  uint64_t covered = 0;
  uint64_t stored = 0;
  for (size_t i = 0; i < file.map.size(); i += 2) {
    const uint64_t offset = file.map[i];
    const uint64_t length = file.map[i + 1];
    if (offset < covered || offset > file.file_bytes || length > file.file_bytes - offset) {
      return Refuse("BAD_TAR", "The pieces of a sparse map overlap or lie outside the file");
    }
    covered = offset + length;
    if (length == 0) continue;
    if (length > file.stored_bytes - stored) {
      return Refuse("BAD_TAR", "A sparse map needs more data than the entry has");
    }
    if (!runs.empty() && runs.back().file_offset + runs.back().length == offset) {
      runs.back().length += length;
    } else {
      runs.push_back(DataRun{offset, file.tar_offset + stored, length});
    }
    stored += length;
  }
  if (stored != file.stored_bytes) {
    return Refuse("BAD_TAR", "A sparse map leaves data of the entry unused");
  }
  return runs;
}

Status SparseMapParser::Feed(std::string_view block) {
  constexpr int kMaxDigits = 18;
  for (const char c : block) {
    if (done()) return Done{};
    if (c == '\n' && digits_ > 0) {
      const Status ended = EndLine();
      if (!ended.ok()) return ended;
    } else if (c >= '0' && c <= '9' && digits_ < kMaxDigits) {
      number_ = number_ * 10 + static_cast<uint64_t>(c - '0');
      ++digits_;
    } else {
      return Refuse("BAD_TAR", "A sparse map is malformed");
    }
  }
  return Done{};
}

Status SparseMapParser::EndLine() {
  if (!counted_) {
    if (number_ > kMaxSparseRuns) return TooManySparseRuns();
    counted_ = true;
    wanted_ = static_cast<size_t>(number_) * 2;
  } else {
    numbers_.push_back(number_);
  }
  number_ = 0;
  digits_ = 0;
  return Done{};
}

}  // namespace cais
