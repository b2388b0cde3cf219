#pragma once

#include <memory>
#include <string_view>

#include "layer/decompress.h"

namespace cais {

// Whether the bytes begin a Zstandard or a skippable frame (RFC 8878, section 3.1).
bool IsZstdMagic(std::string_view first_bytes);

// zstd of one or more frames, skippable ones included. A frame that wants a window of more than 128
// MiB (what `zstd --ultra -22` uses) fails with LIMIT_EXCEEDED; anything after the last frame is
// TRAILING_DATA.
Result<std::unique_ptr<Decompressor>> OpenZstd(const DecompressorOptions& options);

}  // namespace cais
