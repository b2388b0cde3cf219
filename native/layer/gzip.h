#pragma once

#include <memory>

#include "layer/decompress.h"

namespace cais {

// gzip of one or more members (RFC 1952). As with GNU gzip, zeros after the last member are
// padding; anything else there is TRAILING_DATA.
Result<std::unique_ptr<Decompressor>> OpenGzip(const DecompressorOptions& options);

}  // namespace cais
