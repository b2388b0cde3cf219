#pragma once

#include <memory>

#include "layer/decompress.h"

namespace cais {

// zstd of one or more frames, skippable ones included. A frame that wants a window of more than 128
// MiB (what `zstd --ultra -22` uses) fails with LIMIT_EXCEEDED; anything after the last frame is
// TRAILING_DATA.
Result<std::unique_ptr<Decompressor>> OpenZstd(const DecompressorOptions& options);

}  // namespace cais
