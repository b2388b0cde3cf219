#include "layer/zstd_stream.h"

// For ZSTD_d_forceIgnoreChecksum: the library is linked statically, in the version of package.json.
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
#include <zstd_errors.h>

#include <cstdint>
#include <string>
#include <utility>

namespace cais {
namespace {

constexpr int kWindowLogMax = 27;

class Zstd final : public Decompressor {
 public:
  explicit Zstd(ZSTD_DCtx* context) : context_(context) {}
  Zstd(const Zstd&) = delete;
  Zstd& operator=(const Zstd&) = delete;
  ~Zstd() override { (void)ZSTD_freeDCtx(context_); }

  Result<Step> Run(std::string_view input, char* output, size_t output_bytes) override {
    ZSTD_inBuffer in{input.data(), input.size(), 0};
    ZSTD_outBuffer out{output, output_bytes, 0};
    for (;;) {
      // A call would begin the next frame.
      if (!in_frame_ && in.pos == in.size) break;
      const size_t wanted = ZSTD_decompressStream(context_, &out, &in);
      if (ZSTD_isError(wanted) != 0) return Failed(wanted);
      in_frame_ = wanted != 0;
      if (!in_frame_) {
        ++frames_;
      } else if (in.pos == in.size || out.pos == out.size) {
        break;
      }
    }
    return Step{in.pos, out.pos};
  }

  Status Finish() override {
    if (in_frame_) return Refuse("TRUNCATED", "The zstd stream ends early");
    return Done{};
  }

 private:
  Failure Failed(size_t result) const {
    const ZSTD_ErrorCode code = ZSTD_getErrorCode(result);
    if (code == ZSTD_error_prefix_unknown && frames_ > 0) {
      return Refuse("TRAILING_DATA", "The zstd stream is followed by other data");
    }
    if (code == ZSTD_error_frameParameter_windowTooLarge) {
      return Refuse("LIMIT_EXCEEDED",
                    "The zstd stream wants a window of more than 128 MiB to be decompressed");
    }
    if (code == ZSTD_error_memory_allocation) {
      return Refuse("ENOMEM", "Cannot decompress zstd: out of memory");
    }
    return Refuse("BAD_COMPRESSION",
                  std::string("Cannot decompress zstd: ") + ZSTD_getErrorName(result));
  }

  ZSTD_DCtx* context_;
  bool in_frame_ = true;
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

Result<std::unique_ptr<Decompressor>> OpenZstd(bool verify_checksums) {
  ZSTD_DCtx* context = ZSTD_createDCtx();
  if (context == nullptr) return Refuse("ENOMEM", "Cannot start zstd: out of memory");
  auto zstd = std::make_unique<Zstd>(context);
  if (ZSTD_isError(ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, kWindowLogMax)) != 0) {
    return Refuse("NATIVE_FAILURE", "Cannot bound the window of zstd");
  }
  if (!verify_checksums) {
    // Where it fails they are verified all the same.
    (void)ZSTD_DCtx_setParameter(context, ZSTD_d_forceIgnoreChecksum, ZSTD_d_ignoreChecksum);
  }
  return std::unique_ptr<Decompressor>(std::move(zstd));
}

}  // namespace cais
