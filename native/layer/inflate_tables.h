#pragma once

#include <cstddef>
#include <cstdint>

namespace cais {

// What one look-up of a Huffman table gives: a 32-bit word.
//   bits 0 to 5:   what to shift out of the bit buffer, the code and its extra bits together
//   bits 6 and 7:  the kind (below)
//   bits 8 to 15:  the length of the code alone, after which the extra bits begin; of a link: how
//                  many bits select in the sub-table; of a stop, which one it is as well
//   bits 16 to 31: the base, the literal or the sub-table's place
// The kind shares its byte with the length since shifts by a register look at six bits only, so
// that nobody has to cut it off.
using InflateEntry = uint32_t;

inline constexpr uint32_t kInflateLiteral = 0x80;
// A link to a sub-table, or a stop.
inline constexpr uint32_t kInflateSpecial = 0x40;
inline constexpr uint32_t kInflateEndOfBlock = 0x8000;
inline constexpr uint32_t kInflateInvalid = 0x4000;
inline constexpr uint32_t kInflateStop = kInflateEndOfBlock | kInflateInvalid;

inline constexpr int kMaxCodeBits = 15;
inline constexpr size_t kLitlenSymbols = 288;
inline constexpr size_t kDistanceSymbols = 32;
inline constexpr size_t kCodeLengthSymbols = 19;

inline constexpr int kLitlenBits = 11;
inline constexpr int kDistanceBits = 9;
inline constexpr int kCodeLengthBits = 7;

// A sub-table of 2^k entries belongs to k + 1 codes at least, as the code is complete: so many
// entries can all sub-tables of an alphabet need.
constexpr size_t SubTableEntries(size_t symbols, int root_bits) {
  const int k = kMaxCodeBits - root_bits;
  return (symbols << k) / static_cast<size_t>(k + 1) + 1;
}

struct InflateTables {
  InflateEntry litlen[(1 << kLitlenBits) + SubTableEntries(kLitlenSymbols, kLitlenBits)];
  InflateEntry distance[(1 << kDistanceBits) + SubTableEntries(kDistanceSymbols, kDistanceBits)];
};

// They fill the tables from the length of each symbol's code. False: the lengths are no code that
// zlib would accept (over-subscribed, or incomplete with more than one code of one bit).
bool BuildLitlenTable(const uint8_t* lengths, size_t symbols, InflateTables& tables);
bool BuildDistanceTable(const uint8_t* lengths, size_t symbols, InflateTables& tables);
// The code of a dynamic block's code lengths: 2^kCodeLengthBits entries with the symbol as base.
bool BuildCodeLengthTable(const uint8_t* lengths, InflateEntry* table);

// Those of blocks with fixed codes.
const InflateTables& FixedInflateTables();

}  // namespace cais
