#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "layer/zstd_sequences.h"

namespace cais {

// Where a block's sequences are put in order.
struct ZstdOutput {
  uint8_t* to;
  const uint8_t* end;  // of the room, with 32 more bytes behind it to be overwritten
  // What a match may refer to: from `begin` to `to`, and before that `old_bytes` bytes that end at
  // `old_end`, of a window of so many bytes.
  const uint8_t* begin;
  const uint8_t* old_end;
  size_t old_bytes;
  size_t window_bytes;
};

// Copies literals (32 more bytes can be read behind them) and matches. Returns how many bytes were
// written, or nothing when the sequences are not right.
std::optional<size_t> CopySequences(const ZstdSequence* sequences, size_t count,
                                    const uint8_t* literals, size_t literal_bytes,
                                    const ZstdOutput& output);

}  // namespace cais
