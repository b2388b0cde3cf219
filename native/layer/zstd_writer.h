#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "kernel/result.h"
#include "layer/piece.h"
#include "layer/piece_ring.h"
#include "layer/xxh64.h"
#include "layer/zstd_batch.h"

namespace cais {

// The second half of Zstandard decompression: puts literals and matches in order, into a ring of
// pieces that is the window at the same time.
class ZstdWriter {
 public:
  ZstdWriter(PiecePool::Options pieces, bool verify_check_sums)
      : pieces_(std::move(pieces)), verify_check_sums_(verify_check_sums) {}

  enum class Progress {
    kDone,   // with all of the batch
    kPiece,  // a piece is to be taken
    kFull,   // the ring is in use, until `on_free`
  };
  // Goes on with `batch`, the same one until it is done.
  Result<Progress> Run(const ZstdBatch& batch);
  // What is there, null when there is nothing.
  PieceRef Take() { return ring_ == nullptr ? nullptr : ring_->Take(); }

 private:
  // Written behind a block, at most, by whoever copies in large words.
  static constexpr size_t kSlackBytes = 32;

  Result<Progress> Begin(const ZstdFrame& frame);
  Result<Progress> Write(const ZstdBatch& batch, const ZstdBatch::Item& block);
  Status End(const ZstdBatch::Item& end);
  // Whether another block would make it too large, or could not lie behind it.
  bool IsPieceComplete() const;
  const uint8_t* RingEnd() const { return reinterpret_cast<const uint8_t*>(ring_->end()); }
  size_t BlockRoom() const { return frame_.block_bytes + kSlackBytes; }

  const PiecePool::Options pieces_;
  const bool verify_check_sums_;
  std::shared_ptr<PieceRing> ring_;  // once there was a frame

  // In the batch.
  size_t item_ = 0;
  size_t literal_ = 0;
  size_t sequence_ = 0;

  // Of the present frame.
  ZstdFrame frame_{};
  uint64_t written_bytes_ = 0;
  std::optional<Xxh64> check_sum_;
  // What a match may refer to: from `begin_` to where the next byte goes, and before that the end
  // of what was written in the turn of the ring before.
  const uint8_t* begin_ = nullptr;
  const uint8_t* old_end_ = nullptr;
  size_t old_bytes_ = 0;
};

}  // namespace cais
