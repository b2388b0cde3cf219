#include "layer/decompress.h"

#include "layer/gzip.h"
#include "layer/zstd_reader.h"
#include "layer/zstd_stream.h"

namespace cais {

const char* CompressionName(Compression compression) {
  switch (compression) {
    case Compression::kGzip:
      return "gzip";
    case Compression::kZstd:
      return "zstd";
    case Compression::kNone:
      break;
  }
  return "none";
}

Compression DetectCompression(std::string_view first_bytes) {
  if (first_bytes.starts_with("\x1f\x8b\x08")) return Compression::kGzip;
  if (IsZstdMagic(first_bytes)) return Compression::kZstd;
  return Compression::kNone;
}

std::string_view UnsupportedCompression(std::string_view first_bytes) {
  using namespace std::string_view_literals;
  if (first_bytes.starts_with("BZh"sv)) return "bzip2";
  if (first_bytes.starts_with("\xfd"
                              "7zXZ\0"sv)) {
    return "xz";
  }
  if (first_bytes.starts_with("\x04\x22\x4d\x18"sv)) return "lz4";
  if (first_bytes.starts_with("\x1f\x9d"sv)) return "compress";
  return {};
}

Result<std::unique_ptr<Decompressor>> OpenDecompressor(Compression compression,
                                                       const DecompressorOptions& options) {
  return compression == Compression::kGzip ? OpenGzip(options) : OpenZstd(options);
}

}  // namespace cais
