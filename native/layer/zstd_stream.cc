#include "layer/zstd_stream.h"

// For the functions that take a stream block by block, and for ZSTD_d_forceIgnoreChecksum: the
// library is linked statically, in the version of package.json.
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "layer/piece_ring.h"

namespace cais {
namespace {

constexpr uint64_t kMaxWindowBytes = uint64_t{1} << 27;

// Block by block into a ring of pieces, which is the window at the same time: the library's own
// streaming has a window of its own, from which all output is copied.
class Zstd final : public Decompressor {
 public:
  Zstd(ZSTD_DCtx* context, PiecePool::Options pieces)
      : context_(context), pieces_(std::move(pieces)) {}
  Zstd(const Zstd&) = delete;
  Zstd& operator=(const Zstd&) = delete;
  ~Zstd() override { (void)ZSTD_freeDCtx(context_); }

  Result<Step> Run(std::string_view input) override {
    Step step;
    for (;;) {
      const std::string_view rest = input.substr(step.consumed);
      size_t taken = 0;
      Result<Progress> progress = Progress::kMore;
      switch (place_) {
        case Place::kHead:
          progress = ReadHead(rest, taken);
          break;
        case Place::kSkippable:
          progress = Skip(rest, taken);
          break;
        case Place::kFrame:
          progress = ReadFrame(rest, taken);
          break;
      }
      if (!progress.ok()) return std::move(progress.failure());
      step.consumed += taken;
      switch (progress.value()) {
        case Progress::kMore:
          break;
        case Progress::kInputUsed:
          return step;
        case Progress::kPiece:
          step.piece = ring_->Take();
          return step;
        case Progress::kFull:
          step.is_full = true;
          return step;
      }
    }
  }

  Result<PieceRef> Finish() override {
    const bool is_between = place_ == Place::kHead && staged_.empty() && frames_ > 0;
    if (!is_between) return Refuse("TRUNCATED", "The zstd stream ends early");
    return ring_ == nullptr ? PieceRef() : ring_->Take();
  }

 private:
  enum class Place { kHead, kSkippable, kFrame };
  enum class Progress {
    kMore,       // go on
    kInputUsed,  // nothing more without input
    kPiece,      // a piece is to be taken
    kFull,       // the ring is in use
  };

  // Adds input to what is staged until that has `bytes` bytes. Returns how many it took.
  size_t Stage(std::string_view input, size_t bytes) {
    const size_t part = std::min(input.size(), bytes - std::min(bytes, staged_.size()));
    staged_.append(input.substr(0, part));
    return part;
  }

  Result<Progress> ReadHead(std::string_view input, size_t& taken) {
    ZSTD_frameHeader head;
    for (;;) {
      const size_t wanted = ZSTD_getFrameHeader(&head, staged_.data(), staged_.size());
      if (ZSTD_isError(wanted) != 0) return Failed(wanted);
      if (wanted == 0) break;
      // A byte at a time up to the magic number: a wrong one is to be found as soon as it is there.
      const size_t next = std::min(wanted, std::max(staged_.size() + 1, kMagicBytes));
      const size_t part = Stage(input.substr(taken), next);
      if (part == 0) return Progress::kInputUsed;
      taken += part;
    }
    if (head.frameType == ZSTD_skippableFrame) {
      skip_bytes_ = head.frameContentSize;
      staged_.clear();
      place_ = Place::kSkippable;
      return Progress::kMore;
    }
    return BeginFrame(head);
  }

  Result<Progress> BeginFrame(const ZSTD_frameHeader& head) {
    if (head.windowSize > kMaxWindowBytes) return WindowTooLarge();
    block_bytes_ = head.blockSizeMax;
    // Whatever a block looks back at is there while it is written, also behind a new beginning.
    const size_t needed = static_cast<size_t>(head.windowSize) + 2 * size_t{block_bytes_};
    if (ring_ == nullptr || ring_->capacity() < needed) {
      // The one before lives as long as its pieces.
      if (ring_ != nullptr && ring_->pending() > 0) return Progress::kPiece;
      ring_ = PieceRing::Make(std::max(needed, pieces_.piece_bytes * pieces_.max_pieces),
                              pieces_.on_free);
      if (ring_ == nullptr) return OutOfMemory();
    }
    const size_t begun = ZSTD_decompressBegin(context_);
    if (ZSTD_isError(begun) != 0) return Failed(begun);
    for (std::string_view left = staged_; !left.empty();) {
      const size_t part = std::min(ZSTD_nextSrcSizeToDecompress(context_), left.size());
      const size_t done = ZSTD_decompressContinue(context_, nullptr, 0, left.data(), part);
      if (ZSTD_isError(done) != 0) return Failed(done);
      left.remove_prefix(part);
    }
    staged_.clear();
    place_ = Place::kFrame;
    return Progress::kMore;
  }

  Result<Progress> Skip(std::string_view input, size_t& taken) {
    taken = static_cast<size_t>(std::min<uint64_t>(skip_bytes_, input.size()));
    skip_bytes_ -= taken;
    if (skip_bytes_ > 0) return Progress::kInputUsed;
    return EndFrame();
  }

  Progress EndFrame() {
    ++frames_;
    place_ = Place::kHead;
    return Progress::kMore;
  }

  // The next part of a frame: the head of a block, a block, or the check sum.
  Result<Progress> ReadFrame(std::string_view input, size_t& taken) {
    const size_t wanted = ZSTD_nextSrcSizeToDecompress(context_);
    if (wanted == 0) return EndFrame();
    char* output = nullptr;
    if (IsBlockNext()) {
      if (IsPieceComplete()) return Progress::kPiece;
      output = ring_->Reserve(block_bytes_);
      if (output == nullptr) return Progress::kFull;
    }
    std::string_view part = input.substr(0, wanted);
    // In one row, most often: only what lies across two pieces is copied.
    if (!staged_.empty() || part.size() < wanted) {
      taken = Stage(input, wanted);
      if (staged_.size() < wanted) return Progress::kInputUsed;
      part = staged_;
    } else {
      taken = wanted;
    }
    const size_t produced = ZSTD_decompressContinue(
        context_, output, output == nullptr ? 0 : block_bytes_, part.data(), part.size());
    if (ZSTD_isError(produced) != 0) return Failed(produced);
    ring_->Advance(produced);
    staged_.clear();
    return Progress::kMore;
  }

  bool IsBlockNext() const {
    const ZSTD_nextInputType_e type = ZSTD_nextInputType(context_);
    return type == ZSTDnit_block || type == ZSTDnit_lastBlock;
  }

  // Whether another block would make it too large, or could not lie behind it.
  bool IsPieceComplete() const {
    const size_t bytes = ring_->pending();
    return bytes > 0 && (bytes + block_bytes_ > pieces_.piece_bytes || !ring_->Fits(block_bytes_));
  }

  Failure Failed(size_t result) const {
    const ZSTD_ErrorCode code = ZSTD_getErrorCode(result);
    if (code == ZSTD_error_prefix_unknown && frames_ > 0) {
      return Refuse("TRAILING_DATA", "The zstd stream is followed by other data");
    }
    if (code == ZSTD_error_frameParameter_windowTooLarge) return WindowTooLarge();
    if (code == ZSTD_error_memory_allocation) return OutOfMemory();
    return Refuse("BAD_COMPRESSION",
                  std::string("Cannot decompress zstd: ") + ZSTD_getErrorName(result));
  }

  static Failure WindowTooLarge() {
    return Refuse("LIMIT_EXCEEDED",
                  "The zstd stream wants a window of more than 128 MiB to be decompressed");
  }

  static Failure OutOfMemory() { return Refuse("ENOMEM", "Cannot decompress zstd: out of memory"); }

  static constexpr size_t kMagicBytes = 4;

  ZSTD_DCtx* context_;
  const PiecePool::Options pieces_;
  std::shared_ptr<PieceRing> ring_;  // once there was a frame
  Place place_ = Place::kHead;
  std::string staged_;       // input that cannot be used before there is more
  uint64_t skip_bytes_ = 0;  // of a skippable frame
  size_t block_bytes_ = 0;   // the most that a block of this frame may have
  uint64_t frames_ = 0;
};

}  // namespace

bool IsZstdMagic(std::string_view first_bytes) {
  using namespace std::string_view_literals;
  if (first_bytes.starts_with("\x28\xb5\x2f\xfd"sv)) return true;
  // Skippable frames have sixteen magic numbers.
  return first_bytes.size() >= 4 && (static_cast<unsigned char>(first_bytes[0]) & 0xf0) == 0x50 &&
         first_bytes.substr(1, 3) == "\x2a\x4d\x18"sv;
}

Result<std::unique_ptr<Decompressor>> OpenZstd(const DecompressorOptions& options) {
  ZSTD_DCtx* context = ZSTD_createDCtx();
  if (context == nullptr) return Refuse("ENOMEM", "Cannot start zstd: out of memory");
  auto zstd = std::make_unique<Zstd>(context, options.pieces);
  if (!options.verify_checksums) {
    // Where it fails they are verified all the same.
    (void)ZSTD_DCtx_setParameter(context, ZSTD_d_forceIgnoreChecksum, ZSTD_d_ignoreChecksum);
  }
  return std::unique_ptr<Decompressor>(std::move(zstd));
}

}  // namespace cais
