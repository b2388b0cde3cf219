#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernel/result.h"
#include "layer/zstd_sequences.h"

namespace cais {

// The most that a block of Zstandard decompresses to (RFC 8878, section 3.1.1.2.4).
inline constexpr size_t kMaxZstdBlockBytes = 128 << 10;
// A window of more is refused: what `zstd --ultra -22` uses.
inline constexpr uint64_t kMaxZstdWindowBytes = uint64_t{1} << 27;

// What is to be kept of a frame's header.
struct ZstdFrame {
  uint64_t window_bytes;
  size_t block_bytes;                   // the most that a block has
  std::optional<uint64_t> total_bytes;  // when the header tells
  bool has_check_sum;
};

inline Failure BadZstd(const char* reason) {
  return Refuse("BAD_COMPRESSION", std::string("Cannot decompress zstd: ") + reason);
}

// A few blocks, decoded as far as that goes without the output before them: literals, and the
// sequences that put them and matches in order. Reading them is one half of decompression,
// following them (ZstdWriter) the other; so a thread can be ahead of another by some batches.
class ZstdBatch {
 public:
  // What is read after the literals, at most, by whoever copies them in large words.
  static constexpr size_t kSlackBytes = 32;
  static constexpr size_t kLiteralBytes = 2 * kMaxZstdBlockBytes;

  // What comes next: a frame, a block of it, or its end.
  struct Item {
    std::optional<ZstdFrame> frame;  // which begins
    size_t literal_bytes = 0;
    size_t sequence_count = 0;
    bool ends_frame = false;
    std::optional<uint32_t> check_sum;  // of the frame that ends
  };

  void Clear() {
    items.clear();
    literal_bytes_ = 0;
    sequence_count_ = 0;
  }
  bool HasRoom() const {
    return items.size() < kMaxItems && literal_bytes_ + kMaxZstdBlockBytes <= kLiteralBytes;
  }
  // Room for the literals of a block, which AddBlock takes.
  uint8_t* literals() {
    if (literals_ == nullptr) literals_.reset(new uint8_t[kLiteralBytes + kSlackBytes]);
    return literals_.get() + literal_bytes_;
  }
  // Likewise for so many sequences.
  ZstdSequence* sequences(size_t count) {
    if (sequence_count_ + count > sequence_capacity_) Grow(sequence_count_ + count);
    return sequences_.get() + sequence_count_;
  }
  void AddBlock(size_t literal_bytes, size_t sequence_count) {
    Item& item = items.emplace_back();
    item.literal_bytes = literal_bytes;
    item.sequence_count = sequence_count;
    literal_bytes_ += literal_bytes;
    sequence_count_ += sequence_count;
  }
  const uint8_t* first_literal() const { return literals_.get(); }
  const ZstdSequence* first_sequence() const { return sequences_.get(); }

  std::vector<Item> items;

 private:
  // Sequences take more than literals: 64 blocks of source code had three megabytes of them, which
  // no cache of a core holds.
  static constexpr size_t kMaxItems = 4;

  // What four blocks mostly have; memory that is not touched costs nothing.
  static constexpr size_t kFirstSequences = 40'000;

  void Grow(size_t needed) {
    const size_t capacity = std::max({needed, kFirstSequences, 2 * sequence_capacity_});
    std::unique_ptr<ZstdSequence[]> larger(new ZstdSequence[capacity]);
    if (sequence_count_ > 0) {
      std::memcpy(larger.get(), sequences_.get(), sequence_count_ * sizeof(ZstdSequence));
    }
    sequences_ = std::move(larger);
    sequence_capacity_ = capacity;
  }

  // Not a vector, which would write zeros first.
  std::unique_ptr<uint8_t[]> literals_;
  size_t literal_bytes_ = 0;
  std::unique_ptr<ZstdSequence[]> sequences_;
  size_t sequence_count_ = 0;
  size_t sequence_capacity_ = 0;
};

}  // namespace cais
