#include "layer/gzip.h"

#include <utility>

#include "layer/gzip_inflater.h"

namespace cais {
namespace {

// Magic number and the only compression method there is.
constexpr std::string_view kHead = "\x1f\x8b\x08";

class Gzip final : public Decompressor {
 public:
  Gzip(std::unique_ptr<GzipInflater> inflater, PiecePool::Options pieces)
      : inflater_(std::move(inflater)), pool_(std::move(pieces)) {}

  Result<Step> Run(std::string_view input) override {
    Step step;
    if (piece_ == nullptr) piece_ = pool_.TryAcquire();
    if (piece_ == nullptr) {
      step.is_full = true;
      return step;
    }
    for (;;) {
      const std::string_view rest = input.substr(step.consumed);
      if (place_ == Place::kPadding) {
        if (rest.find_first_not_of('\0') != std::string_view::npos) return TrailingData();
        step.consumed = input.size();
        return step;
      }
      if (place_ == Place::kBetween) {
        if (rest.empty()) return step;
        if (rest[0] == '\0') {
          place_ = Place::kPadding;
          continue;
        }
        if (rest[0] != '\x1f') return TrailingData();
        inflater_->Reset();
        head_bytes_ = 0;
        place_ = Place::kMember;
      }
      if (!IsHead(rest)) return TrailingData();
      const auto part = inflater_->Run(rest, piece_->end(), piece_->room());
      if (!part.ok()) return part.failure();
      step.consumed += part.value().consumed;
      piece_->size += part.value().produced;
      if (!part.value().ended) {
        if (piece_->room() == 0) step.piece = std::move(piece_);
        return step;
      }
      place_ = Place::kBetween;
      first_member_ = false;
    }
  }

  Result<PieceRef> Finish() override {
    if (place_ == Place::kMember) return Refuse("TRUNCATED", "The gzip stream ends early");
    if (piece_ != nullptr && piece_->size == 0) piece_.reset();
    return std::move(piece_);
  }

 private:
  enum class Place { kMember, kBetween, kPadding };

  // Whether a later member begins as one must, looking at each of its first bytes once: libraries
  // notice that at different places.
  bool IsHead(std::string_view bytes) {
    if (first_member_) return true;
    for (; head_bytes_ < kHead.size() && !bytes.empty(); ++head_bytes_) {
      if (bytes[0] != kHead[head_bytes_]) return false;
      bytes.remove_prefix(1);
    }
    return true;
  }

  static Failure TrailingData() {
    return Refuse("TRAILING_DATA", "The gzip stream is followed by other data");
  }

  std::unique_ptr<GzipInflater> inflater_;
  PiecePool pool_;
  PieceRef piece_;  // being filled
  Place place_ = Place::kMember;
  bool first_member_ = true;
  size_t head_bytes_ = 0;  // of the present member
};

}  // namespace

Result<std::unique_ptr<Decompressor>> OpenGzip(const DecompressorOptions& options) {
  std::unique_ptr<GzipInflater> inflater;
  if (options.gzip_library == GzipLibrary::kOwn) {
    inflater = OpenOwnInflater(options.verify_checksums);
  } else {
    Result<std::unique_ptr<GzipInflater>> zlib = OpenZlibInflater();
    if (!zlib.ok()) return std::move(zlib.failure());
    inflater = std::move(zlib.value());
  }
  return Result<std::unique_ptr<Decompressor>>(
      std::make_unique<Gzip>(std::move(inflater), options.pieces));
}

}  // namespace cais
