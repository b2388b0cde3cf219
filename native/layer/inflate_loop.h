#pragma once

#include <cstddef>
#include <cstdint>

#include "layer/inflate_tables.h"
#include "layer/little_endian.h"

namespace cais {

// The greatest distance of a match.
inline constexpr size_t kInflateWindowBytes = 32 << 10;

// What came out before the present output, which belongs to others by now: a ring.
struct InflateHistory {
  uint8_t bytes[kInflateWindowBytes];
  size_t next = 0;  // the place of the next byte
  size_t length = 0;
};

// The present input and output, and the bits that have been taken from the input.
struct InflateCursor {
  const uint8_t* in;
  const uint8_t* in_begin;
  const uint8_t* in_end;
  uint8_t* out;
  uint8_t* out_begin;
  uint8_t* out_end;
  // `count` bits, the next one the lowest. Those above are zero or what the input has there.
  uint64_t bits;
  unsigned count;

  // At least 56 bits, or all that there are.
  void Refill() {
    if (in_end - in >= 8) {
      bits |= LoadLittle64(in) << count;
      in += (63 - count) >> 3;
      count |= 56;
      return;
    }
    for (; count < 56 && in != in_end; count += 8) bits |= uint64_t{*in++} << count;
  }
  uint32_t Peek(unsigned number) const {
    return static_cast<uint32_t>(bits & ((uint64_t{1} << number) - 1));
  }
  void Drop(unsigned number) {
    bits >>= number;
    count -= number;
  }
  // Gives whole bytes back to the input.
  void GiveBack() {
    const size_t taken = static_cast<size_t>(in - in_begin);
    const size_t back = count / 8 < taken ? count / 8 : taken;
    in -= back;
    count -= static_cast<unsigned>(back) * 8;
    bits &= (uint64_t{1} << count) - 1;
  }
};

// Copies a match that fits into the output and whose distance is possible.
void CopyMatch(InflateCursor& cursor, const InflateHistory& history, size_t distance,
               size_t length);

enum class InflateStop { kEdge, kEndOfBlock, kInvalidLitlen, kInvalidDistance, kTooFarBack };

// So much input and output must be left for InflateFast.
inline constexpr ptrdiff_t kFastInBytes = 40;
inline constexpr ptrdiff_t kFastOutBytes = 340;

// Decodes the symbols of a block until the end of input or output is near, or the block ends.
InflateStop InflateFast(const InflateTables& tables, const InflateHistory& history,
                        InflateCursor& cursor);

}  // namespace cais
