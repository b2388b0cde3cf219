#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "kernel/result.h"
#include "layer/piece.h"

namespace cais {

enum class Compression { kNone, kGzip, kZstd };

const char* CompressionName(Compression compression);

// By the first bytes of a blob: media types of layers do not tell reliably.
Compression DetectCompression(std::string_view first_bytes);

// The name of a compression that is known but not supported, empty otherwise. Only a hint for a
// message: a tar may begin with these bytes.
std::string_view UnsupportedCompression(std::string_view first_bytes);

// Decompresses one stream, pushed through in pieces of any size, into pieces of its own. Outlives
// them.
class Decompressor {
 public:
  struct Step {
    // Of the input; the rest comes again.
    size_t consumed = 0;
    // Complete. Null: none yet.
    PieceRef piece;
    // There is no memory for output before `on_free`; to a divided one's Run(), before
    // `on_followed`.
    bool is_full = false;
  };

  virtual ~Decompressor() = default;
  // Takes input until a piece of output is complete, the input is used up or there is no memory for
  // output. After a piece there may be more output for the same input: call again, even with none
  // left. Fails with BAD_COMPRESSION and the library's reason, TRAILING_DATA or LIMIT_EXCEEDED.
  virtual Result<Step> Run(std::string_view input) = 0;
  // The input is complete: the last piece, null when there is nothing in it. Fails with TRUNCATED
  // when the stream is not.
  virtual Result<PieceRef> Finish() = 0;

  // Whether the work has two halves, which two threads can do at the same time: then Run() and
  // Finish() make no pieces, but Follow() does, of what they have read.
  virtual bool is_divided() const { return false; }
  struct Followed {
    PieceRef piece;  // complete; null: none yet
    enum { kMore, kNothing, kEnded } next = kNothing;
  };
  // Does a part of it. After kNothing there may be more at `on_read` and `on_free`.
  virtual Result<Followed> Follow() { return Followed{nullptr, Followed::kEnded}; }
};

// Who inflates gzip: inflate.h, or node's zlib, which is slower and there for tests to compare
// with.
enum class GzipLibrary { kOwn, kZlib };

struct DecompressorOptions {
  GzipLibrary gzip_library = GzipLibrary::kOwn;
  // False: the check sums that the formats have themselves (CRC-32 of gzip, XXH64 of zstd) may be
  // left out, since the caller compares a digest of what comes out. They cost a twentieth.
  bool verify_checksums = true;
  // Of the output. zstd's are no larger than that or than one of its blocks, and take as much
  // memory in all as its window needs.
  PiecePool::Options pieces{};
  // Of a divided one, called on any thread: there is something for Follow(), or Run() may go on
  // after `is_full`.
  std::function<void()> on_read{};
  std::function<void()> on_followed{};
};

// `compression` must not be kNone.
Result<std::unique_ptr<Decompressor>> OpenDecompressor(Compression compression,
                                                       const DecompressorOptions& options);

}  // namespace cais
