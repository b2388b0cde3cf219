#include "layer/zstd_writer.h"

#include <algorithm>
#include <utility>

#include "layer/zstd_copy.h"

namespace cais {

Result<ZstdWriter::Progress> ZstdWriter::Run(const ZstdBatch& batch) {
  for (; item_ < batch.items.size(); ++item_) {
    const ZstdBatch::Item& item = batch.items[item_];
    Result<Progress> progress = Progress::kDone;
    if (item.frame) {
      progress = Begin(*item.frame);
    } else if (item.ends_frame) {
      if (Status ended = End(item); !ended.ok()) return std::move(ended.failure());
    } else {
      progress = Write(batch, item);
    }
    if (!progress.ok() || progress.value() != Progress::kDone) return progress;
  }
  item_ = literal_ = sequence_ = 0;
  return Progress::kDone;
}

Result<ZstdWriter::Progress> ZstdWriter::Begin(const ZstdFrame& frame) {
  frame_ = frame;
  // Whatever a block looks back at is there while it is written, also behind a new beginning.
  const size_t needed = static_cast<size_t>(frame.window_bytes) + 2 * BlockRoom();
  if (ring_ == nullptr || ring_->capacity() < needed) {
    // The one before lives as long as its pieces.
    if (ring_ != nullptr && ring_->pending() > 0) return Progress::kPiece;
    ring_ = PieceRing::Make(std::max(needed, pieces_.piece_bytes * pieces_.max_pieces),
                            pieces_.on_free);
    if (ring_ == nullptr) return Refuse("ENOMEM", "Cannot decompress zstd: out of memory");
  }
  begin_ = nullptr;
  old_bytes_ = 0;
  written_bytes_ = 0;
  check_sum_.reset();
  if (verify_check_sums_ && frame.has_check_sum) check_sum_.emplace();
  return Progress::kDone;
}

Result<ZstdWriter::Progress> ZstdWriter::Write(const ZstdBatch& batch,
                                               const ZstdBatch::Item& block) {
  if (IsPieceComplete()) return Progress::kPiece;
  if (begin_ == nullptr) begin_ = RingEnd();
  if (!ring_->Fits(BlockRoom())) {
    old_end_ = RingEnd();
    old_bytes_ = static_cast<size_t>(old_end_ - begin_);
    ring_->Turn();
    begin_ = RingEnd();
  }
  auto* const to = reinterpret_cast<uint8_t*>(ring_->Reserve(BlockRoom()));
  if (to == nullptr) return Progress::kFull;
  const ZstdOutput output{to,         to + frame_.block_bytes,
                          begin_,     old_end_,
                          old_bytes_, static_cast<size_t>(frame_.window_bytes)};
  const std::optional<size_t> written =
      CopySequences(batch.first_sequence() + sequence_, block.sequence_count,
                    batch.first_literal() + literal_, block.literal_bytes, output);
  if (!written) return BadZstd("a match or a literal is not there");
  if (check_sum_) check_sum_->Update({reinterpret_cast<const char*>(to), *written});
  ring_->Advance(*written);
  written_bytes_ += *written;
  literal_ += block.literal_bytes;
  sequence_ += block.sequence_count;
  return Progress::kDone;
}

Status ZstdWriter::End(const ZstdBatch::Item& end) {
  if (frame_.total_bytes && *frame_.total_bytes != written_bytes_) {
    return BadZstd("a frame has not the size that it says");
  }
  if (check_sum_ && end.check_sum != static_cast<uint32_t>(check_sum_->Finish())) {
    return BadZstd("the check sum of a frame is wrong");
  }
  return Done{};
}

bool ZstdWriter::IsPieceComplete() const {
  const size_t bytes = ring_->pending();
  return bytes > 0 &&
         (bytes + frame_.block_bytes > pieces_.piece_bytes || !ring_->Fits(BlockRoom()));
}

}  // namespace cais
