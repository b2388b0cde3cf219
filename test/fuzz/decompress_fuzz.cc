// gzip and zstd: any input, with outputs of two sizes, gives the same bytes or the same failure.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "layer/decompress.h"

namespace {

constexpr size_t kMaxOutputBytes = 4 << 20;

std::string Run(cais::Compression compression, const std::string& input, size_t piece_bytes) {
  auto decompressor = cais::OpenDecompressor(compression);
  if (!decompressor.ok()) std::abort();
  std::string output;
  const auto buffer = std::make_unique<char[]>(piece_bytes);
  for (size_t at = 0; at < input.size();) {
    const size_t length = std::min(input.size() - at, piece_bytes);
    const auto piece = std::make_unique<char[]>(length);
    input.copy(piece.get(), length, at);
    at += length;
    std::string_view rest(piece.get(), length);
    for (bool full = false; full || !rest.empty();) {
      const auto step = decompressor.value()->Run(rest, buffer.get(), piece_bytes);
      if (!step.ok()) return step.failure().code;
      if (step.value().consumed > rest.size() || step.value().produced > piece_bytes) std::abort();
      rest.remove_prefix(step.value().consumed);
      output.append(buffer.get(), step.value().produced);
      full = step.value().produced == piece_bytes;
      if (!full && !rest.empty() && step.value().consumed + step.value().produced == 0) {
        return "no progress";
      }
      if (output.size() > kMaxOutputBytes) return "long";
    }
  }
  const cais::Status finished = decompressor.value()->Finish();
  return finished.ok() ? output : finished.failure().code;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const cais::Compression compression = cais::DetectCompression(input);
  if (compression == cais::Compression::kNone) return 0;
  const std::string large = Run(compression, input, 1 << 18);
  const std::string small = Run(compression, input, 37 + size % 1000);
  // With much output, one of them may reach the bound of this test before the failure.
  if (large != small && large != "long" && small != "long") {
    std::fprintf(stderr, "large: %zu %s\nsmall: %zu %s\n", large.size(), large.c_str(),
                 small.size(), small.c_str());
    std::abort();
  }
  return 0;
}
