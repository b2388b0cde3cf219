#include "layer/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <limits>
#include <string>

namespace cais {
namespace {

// 15 bits of window, and 16 for "gzip, not zlib".
constexpr int kWindowBits = 15 + 16;

class Gzip final : public Decompressor {
 public:
  Gzip() = default;
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;
  ~Gzip() override {
    if (open_) (void)inflateEnd(&stream_);
  }

  Status Open() {
    if (inflateInit2(&stream_, kWindowBits) != Z_OK)
      return Refuse("ENOMEM", "Cannot start inflate");
    open_ = true;
    return Done{};
  }

  Result<Step> Run(std::string_view input, char* output, size_t output_bytes) override {
    Step step{0, 0};
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
        (void)inflateReset(&stream_);
        place_ = Place::kMember;
      }
      const Result<Step> part = Inflate(rest, output + step.produced, output_bytes - step.produced);
      if (!part.ok()) return part;
      step.consumed += part.value().consumed;
      step.produced += part.value().produced;
      if (place_ == Place::kMember) return step;
    }
  }

  Status Finish() override {
    if (place_ == Place::kMember) return Refuse("TRUNCATED", "The gzip stream ends early");
    return Done{};
  }

 private:
  enum class Place { kMember, kBetween, kPadding };

  static Failure TrailingData() {
    return Refuse("TRAILING_DATA", "The gzip stream is followed by other data");
  }

  // Pieces are far smaller than 4 GiB, zlib's limit for one call.
  Result<Step> Inflate(std::string_view input, char* output, size_t output_bytes) {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
    stream_.avail_in = static_cast<uInt>(input.size());
    stream_.next_out = reinterpret_cast<Bytef*>(output);
    stream_.avail_out = static_cast<uInt>(output_bytes);
    const int result = inflate(&stream_, Z_NO_FLUSH);
    const Step step{input.size() - stream_.avail_in, output_bytes - stream_.avail_out};
    member_bytes_ += step.produced;
    switch (result) {
      case Z_STREAM_END:
        place_ = Place::kBetween;
        first_member_ = false;
        member_bytes_ = 0;
        return step;
      case Z_OK:
      case Z_BUF_ERROR:  // no progress possible: input or output is used up
        return step;
      case Z_MEM_ERROR:
        return Refuse("ENOMEM", "Cannot decompress gzip: out of memory");
      default:
        break;
    }
    // A second member that is none from its first bytes on.
    if (!first_member_ && member_bytes_ == 0) return TrailingData();
    const char* reason = stream_.msg != nullptr ? stream_.msg : "unknown reason";
    return Refuse("BAD_COMPRESSION", std::string("Cannot decompress gzip: ") + reason);
  }

  z_stream stream_{};
  bool open_ = false;
  Place place_ = Place::kMember;
  bool first_member_ = true;
  uint64_t member_bytes_ = 0;
};

}  // namespace

Result<std::unique_ptr<Decompressor>> OpenGzip() {
  auto gzip = std::make_unique<Gzip>();
  if (Status opened = gzip->Open(); !opened.ok()) return std::move(opened.failure());
  return std::unique_ptr<Decompressor>(std::move(gzip));
}

}  // namespace cais
