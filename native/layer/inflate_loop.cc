#include "layer/inflate_loop.h"

#include <algorithm>
#include <cstring>

#include "layer/processor.h"

namespace cais {
namespace {

CAIS_INLINE void Copy16(uint8_t* to, const uint8_t* from) {
  unsigned char word[16];
  std::memcpy(word, from, sizeof word);
  std::memcpy(to, word, sizeof word);
}

// Multiplying by these repeats the lowest so many bytes of a word.
constexpr uint64_t kRepeat[8] = {0,
                                 0x0101010101010101,
                                 0x0001000100010001,
                                 0x0001000001000001,
                                 0x0000000100000001,
                                 0x0000010000000001,
                                 0x0001000000000001,
                                 0x0100000000000001};
// How far the word that results can be stored one after the other.
constexpr uint8_t kRepeatStep[8] = {0, 8, 8, 6, 8, 5, 6, 7};

// A match nearer than 16 bytes, with up to 31 bytes written after it.
CAIS_INLINE void CopyNear(uint8_t* out, size_t distance, size_t length) {
  const uint8_t* from = out - distance;
  uint8_t* const end = out + length;
  if (distance >= 8) {
    do {
      StoreLittle64(out, LoadLittle64(from));
      out += 8;
      from += 8;
    } while (out < end);
    return;
  }
  const uint64_t mask = (uint64_t{1} << (8 * distance)) - 1;
  const uint64_t pattern = (LoadLittle64(from) & mask) * kRepeat[distance];
  const size_t step = kRepeatStep[distance];
  do {
    StoreLittle64(out, pattern);
    StoreLittle64(out + step, pattern);
    out += 2 * step;
  } while (out < end);
}

// What the entry's extra bits add to its base.
CAIS_INLINE uint32_t Value(InflateEntry entry, uint64_t bits) {
  const uint64_t with_code = bits & ((uint64_t{1} << (entry & 0x3f)) - 1);
  return (entry >> 16) + static_cast<uint32_t>(with_code >> ((entry >> 8) & 0x3f));
}

CAIS_INLINE InflateStop Loop(const InflateTables& tables, const InflateHistory& history,
                             InflateCursor& cursor) {
  constexpr uint64_t kLitlenMask = (1 << kLitlenBits) - 1;
  // See the budget below.
  static_assert(kLitlenBits <= 11 && kDistanceBits <= 9);
  constexpr uint64_t kDistanceMask = (1 << kDistanceBits) - 1;
  const uint8_t* in = cursor.in;
  uint8_t* out = cursor.out;
  uint64_t bits = cursor.bits;
  // Only the lowest six bits count: an entry is subtracted as it is.
  uint32_t count = cursor.count;
  const uint8_t* const in_limit = cursor.in_end - kFastInBytes;
  uint8_t* const out_limit = cursor.out_end - kFastOutBytes;
  uint8_t* const out_begin = cursor.out_begin;
  InflateStop stop = InflateStop::kEdge;

  const auto refill = [&]() __attribute__((always_inline)) {
    bits |= LoadLittle64(in) << (count & 63);
    in += (~count >> 3) & 7;
    count |= 56;
  };
  const auto drop = [&](InflateEntry entry) __attribute__((always_inline)) {
    bits >>= entry & 63;
    count -= entry;
  };
  const auto put = [&](InflateEntry entry) __attribute__((always_inline)) {
    *out++ = static_cast<uint8_t>(entry >> 16);
  };

  // A refill makes all 64 bits true, though only 56 of them may be dropped before the next one. So
  // looking up the next entry comes first and need not wait for it. The budget between two refills:
  // a literal step 11, a length from the root table 16, a distance from the root table 22, and 11
  // more that are only looked at; sub-tables refill for themselves.
  refill();
  InflateEntry entry = tables.litlen[bits & kLitlenMask];
  for (;;) {
    if ((entry & kInflateLiteral) != 0) {
      drop(entry);
      put(entry);
      entry = tables.litlen[bits & kLitlenMask];
      if ((entry & kInflateLiteral) != 0) {
        drop(entry);
        put(entry);
        entry = tables.litlen[bits & kLitlenMask];
        refill();
        if ((entry & kInflateLiteral) != 0) {
          drop(entry);
          put(entry);
          entry = tables.litlen[bits & kLitlenMask];
          refill();
          if (in > in_limit || out > out_limit) [[unlikely]]
            break;
          continue;
        }
      }
    }
    uint64_t saved = bits;
    drop(entry);
    if ((entry & kInflateSpecial) != 0) [[unlikely]] {
      if ((entry & kInflateStop) == 0) {
        const uint32_t sub_mask = (1U << ((entry >> 8) & 0xf)) - 1;
        entry = tables.litlen[(entry >> 16) + (static_cast<uint32_t>(bits) & sub_mask)];
        saved = bits;
        drop(entry);
        refill();
        if ((entry & kInflateLiteral) != 0) {
          put(entry);
          entry = tables.litlen[bits & kLitlenMask];
          if (in > in_limit || out > out_limit) [[unlikely]]
            break;
          continue;
        }
      }
      if ((entry & kInflateSpecial) != 0) {
        stop = (entry & kInflateEndOfBlock) != 0 ? InflateStop::kEndOfBlock
                                                 : InflateStop::kInvalidLitlen;
        break;
      }
    }
    const size_t length = Value(entry, saved);
    entry = tables.distance[bits & kDistanceMask];
    saved = bits;
    drop(entry);
    if ((entry & kInflateSpecial) != 0) [[unlikely]] {
      if ((entry & kInflateStop) == 0) {
        const uint32_t sub_mask = (1U << ((entry >> 8) & 0xf)) - 1;
        refill();
        entry = tables.distance[(entry >> 16) + (static_cast<uint32_t>(bits) & sub_mask)];
        saved = bits;
        drop(entry);
      }
      if ((entry & kInflateSpecial) != 0) {
        stop = InflateStop::kInvalidDistance;
        break;
      }
    }
    const size_t distance = Value(entry, saved);
    entry = tables.litlen[bits & kLitlenMask];
    refill();
    const size_t before = static_cast<size_t>(out - out_begin);
    if (distance > before) [[unlikely]] {
      if (distance > before + history.length) {
        stop = InflateStop::kTooFarBack;
        break;
      }
      cursor.out = out;
      CopyMatch(cursor, history, distance, length);
      out += length;
    } else if (distance >= 16) [[likely]] {
      const uint8_t* from = out - distance;
      uint8_t* const end = out + length;
      Copy16(out, from);
      Copy16(out + 16, from + 16);
      if (length > 32) {
        out += 32;
        from += 32;
        do {
          Copy16(out, from);
          Copy16(out + 16, from + 16);
          out += 32;
          from += 32;
        } while (out < end);
      }
      out = end;
    } else {
      CopyNear(out, distance, length);
      out += length;
    }
    if (in > in_limit || out > out_limit) [[unlikely]]
      break;
  }
  cursor.in = in;
  cursor.out = out;
  cursor.bits = bits;
  cursor.count = count & 63;
  cursor.GiveBack();
  return stop;
}

InflateStop LoopAnywhere(const InflateTables& tables, const InflateHistory& history,
                         InflateCursor& cursor) {
  return Loop(tables, history, cursor);
}

#ifdef __x86_64__

CAIS_AVX2 InflateStop LoopWithAvx2(const InflateTables& tables, const InflateHistory& history,
                                   InflateCursor& cursor) {
  return Loop(tables, history, cursor);
}

#endif

}  // namespace

void CopyMatch(InflateCursor& cursor, const InflateHistory& history, size_t distance,
               size_t length) {
  uint8_t* out = cursor.out;
  const size_t before = static_cast<size_t>(out - cursor.out_begin);
  if (distance > before) {
    const size_t back = distance - before;
    size_t old_bytes = std::min(back, length);
    length -= old_bytes;
    size_t from = (history.next - back) % kInflateWindowBytes;
    while (old_bytes > 0) {
      const size_t run = std::min(old_bytes, kInflateWindowBytes - from);
      std::memcpy(out, history.bytes + from, run);
      out += run;
      old_bytes -= run;
      from = 0;
    }
  }
  for (const uint8_t* from = out - distance; length > 0; --length) *out++ = *from++;
  cursor.out = out;
}

InflateStop InflateFast(const InflateTables& tables, const InflateHistory& history,
                        InflateCursor& cursor) {
#ifdef __x86_64__
  if (UseAvx2()) return LoopWithAvx2(tables, history, cursor);
#endif
  return LoopAnywhere(tables, history, cursor);
}

}  // namespace cais
