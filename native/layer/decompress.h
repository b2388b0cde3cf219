#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "kernel/result.h"

namespace cais {

enum class Compression { kNone, kGzip, kZstd };

const char* CompressionName(Compression compression);

// By the first bytes of a blob: media types of layers do not tell reliably.
Compression DetectCompression(std::string_view first_bytes);

// The name of a compression that is known but not supported, empty otherwise. Only a hint for a
// message: a tar may begin with these bytes.
std::string_view UnsupportedCompression(std::string_view first_bytes);

// Decompresses one stream, pushed through in pieces.
class Decompressor {
 public:
  struct Step {
    size_t consumed;
    size_t produced;
  };

  virtual ~Decompressor() = default;
  // Takes input and fills output until one of them is used up. When the output is full, there may
  // be more for the same input: call again, even with no input left. Fails with BAD_COMPRESSION and
  // the library's reason, TRAILING_DATA or LIMIT_EXCEEDED.
  virtual Result<Step> Run(std::string_view input, char* output, size_t output_bytes) = 0;
  // The input is complete. Fails with TRUNCATED when the stream is not.
  virtual Status Finish() = 0;
};

// Which library inflates gzip. kFastest: ISA-L where it is installed, else zlib.
enum class GzipLibrary { kFastest, kZlib };

// Whether ISA-L is installed.
bool HasIsal();

struct DecompressorOptions {
  GzipLibrary gzip_library = GzipLibrary::kFastest;
  // False: the check sums that the formats have themselves (CRC-32 of gzip, XXH64 of zstd) may be
  // left out, since the caller compares a digest of what comes out. They cost a twentieth.
  bool verify_checksums = true;
};

// `compression` must not be kNone.
Result<std::unique_ptr<Decompressor>> OpenDecompressor(Compression compression,
                                                       const DecompressorOptions& options);

}  // namespace cais
