#include "layer/inflate_tables.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace cais {
namespace {

constexpr size_t kMaxSymbols = kLitlenSymbols;

// An entry as it is for a code of no bits; see Sized.
template <size_t kCount>
using Templates = std::array<InflateEntry, kCount>;

constexpr InflateEntry Base(uint32_t base, uint32_t extra_bits) { return base << 16 | extra_bits; }

constexpr InflateEntry kInvalidTemplate = kInflateSpecial | kInflateInvalid;

constexpr Templates<kLitlenSymbols> MakeLitlenTemplates() {
  Templates<kLitlenSymbols> made{};
  for (uint32_t literal = 0; literal < 256; ++literal) {
    made[literal] = Base(literal, 0) | kInflateLiteral;
  }
  made[256] = kInflateSpecial | kInflateEndOfBlock;
  // Eight lengths without extra bits, then four symbols for each number of them.
  uint32_t base = 3;
  for (uint32_t i = 0; i < 28; ++i) {
    const uint32_t extra_bits = i < 8 ? 0 : i / 4 - 1;
    made[257 + i] = Base(base, extra_bits);
    base += 1U << extra_bits;
  }
  // The greatest length has a symbol of its own.
  made[285] = Base(258, 0);
  made[286] = made[287] = kInvalidTemplate;
  return made;
}

constexpr Templates<kDistanceSymbols> MakeDistanceTemplates() {
  Templates<kDistanceSymbols> made{};
  uint32_t base = 1;
  for (uint32_t i = 0; i < 30; ++i) {
    const uint32_t extra_bits = i < 4 ? 0 : i / 2 - 1;
    made[i] = Base(base, extra_bits);
    base += 1U << extra_bits;
  }
  made[30] = made[31] = kInvalidTemplate;
  return made;
}

constexpr Templates<kCodeLengthSymbols> MakeCodeLengthTemplates() {
  Templates<kCodeLengthSymbols> made{};
  for (uint32_t i = 0; i < kCodeLengthSymbols; ++i) made[i] = Base(i, 0);
  return made;
}

constexpr auto kLitlenTemplates = MakeLitlenTemplates();
constexpr auto kDistanceTemplates = MakeDistanceTemplates();
constexpr auto kCodeLengthTemplates = MakeCodeLengthTemplates();

// The entry for a code of so many bits.
constexpr InflateEntry Sized(InflateEntry symbol, uint32_t bits) { return symbol + bits * 0x101; }

// The next code of `bits` bits, or the same one if this is the last. Codes are numbered with
// their first bit as the highest one, but that bit comes out of the bit buffer as the lowest: here,
// all are mirrored, and the carry of adding one goes downwards.
inline uint32_t NextCode(uint32_t code, int bits) {
  const uint32_t zeros = ~code & ((1U << bits) - 1);
  if (zeros == 0) return code;
  const uint32_t highest = std::bit_floor(zeros);
  return (code & (highest - 1)) | highest;
}

struct Sorted {
  uint16_t counts[kMaxCodeBits + 1];
  uint16_t symbols[kMaxSymbols];  // with a code, in the order of their codes
  int longest;                    // code, in bits
};

Sorted Sort(const uint8_t* lengths, size_t symbols) {
  Sorted sorted;
  std::fill(std::begin(sorted.counts), std::end(sorted.counts), 0);
  for (size_t i = 0; i < symbols; ++i) ++sorted.counts[lengths[i]];
  uint16_t places[kMaxCodeBits + 1];
  uint16_t place = 0;
  sorted.longest = 0;
  for (int bits = 1; bits <= kMaxCodeBits; ++bits) {
    places[bits] = place;
    place = static_cast<uint16_t>(place + sorted.counts[bits]);
    if (sorted.counts[bits] != 0) sorted.longest = bits;
  }
  // Symbols without a code go behind the others, so that nothing depends on the length here.
  places[0] = place;
  for (size_t i = 0; i < symbols; ++i) {
    sorted.symbols[places[lengths[i]]++] = static_cast<uint16_t>(i);
  }
  return sorted;
}

// How many codes of the greatest length are left over; negative: there are too many.
int Unused(const Sorted& sorted) {
  int unused = 1;
  for (int bits = 1; bits <= kMaxCodeBits; ++bits) {
    unused = unused * 2 - sorted.counts[bits];
    if (unused < 0) return unused;
  }
  return unused;
}

// How many bits the sub-table needs whose first code has `bits` bits, `left` of which remain.
int SubTableBits(const Sorted& sorted, int bits, int left, int root_bits) {
  int sub_bits = bits - root_bits;
  int open = (1 << sub_bits) - left;
  while (open > 0) {
    ++sub_bits;
    open = open * 2 - sorted.counts[root_bits + sub_bits];
  }
  return sub_bits;
}

// The table of a complete code.
void Fill(const Sorted& sorted, const InflateEntry* templates, int root_bits, InflateEntry* table) {
  const uint16_t* symbol = sorted.symbols;
  uint32_t code = 0;
  // A table for codes of up to n bits, written twice, is one for n + 1 bits, but for the codes of
  // exactly so many bits, which have one entry each.
  table[0] = 0;
  for (int bits = 1; bits <= root_bits; ++bits) {
    const size_t half = size_t{1} << (bits - 1);
    std::memcpy(table + half, table, half * sizeof *table);
    for (int left = sorted.counts[bits]; left > 0; --left) {
      table[code] = Sized(templates[*symbol++], static_cast<uint32_t>(bits));
      code = NextCode(code, bits);
    }
  }
  const uint32_t root_mask = (1U << root_bits) - 1;
  uint32_t prefix = ~0U;
  uint32_t next_place = 1U << root_bits;
  uint32_t place = 0;
  int sub_bits = 0;
  for (int bits = root_bits + 1; bits <= sorted.longest; ++bits) {
    for (int left = sorted.counts[bits]; left > 0; --left) {
      if ((code & root_mask) != prefix) {
        prefix = code & root_mask;
        place = next_place;
        sub_bits = SubTableBits(sorted, bits, left, root_bits);
        next_place += 1U << sub_bits;
        table[prefix] = place << 16 | static_cast<uint32_t>(sub_bits) << 8 | kInflateSpecial |
                        static_cast<uint32_t>(root_bits);
      }
      const InflateEntry entry =
          Sized(templates[*symbol++], static_cast<uint32_t>(bits - root_bits));
      for (uint32_t at = code >> root_bits; at < 1U << sub_bits; at += 1U << (bits - root_bits)) {
        table[place + at] = entry;
      }
      code = NextCode(code, bits);
    }
  }
}

// A code of one bit without its counterpart, or no code at all: what zlib tolerates.
void FillIncomplete(const Sorted& sorted, const InflateEntry* templates, InflateEntry invalid,
                    int root_bits, InflateEntry* table) {
  const InflateEntry one = Sized(invalid, 1);
  const InflateEntry zero = sorted.longest == 0 ? one : Sized(templates[sorted.symbols[0]], 1);
  for (uint32_t at = 0; at < 1U << root_bits; ++at) table[at] = at % 2 == 0 ? zero : one;
}

bool Build(const uint8_t* lengths, size_t symbols, const InflateEntry* templates, int root_bits,
           InflateEntry* table) {
  const Sorted sorted = Sort(lengths, symbols);
  const int unused = Unused(sorted);
  if (unused < 0) return false;
  if (unused == 0) {
    Fill(sorted, templates, root_bits, table);
    return true;
  }
  if (sorted.longest > 1) return false;
  FillIncomplete(sorted, templates, kInvalidTemplate, root_bits, table);
  return true;
}

}  // namespace

bool BuildLitlenTable(const uint8_t* lengths, size_t symbols, InflateTables& tables) {
  return Build(lengths, symbols, kLitlenTemplates.data(), kLitlenBits, tables.litlen);
}

bool BuildDistanceTable(const uint8_t* lengths, size_t symbols, InflateTables& tables) {
  return Build(lengths, symbols, kDistanceTemplates.data(), kDistanceBits, tables.distance);
}

bool BuildCodeLengthTable(const uint8_t* lengths, InflateEntry* table) {
  const Sorted sorted = Sort(lengths, kCodeLengthSymbols);
  const int unused = Unused(sorted);
  if (unused == 0) {
    Fill(sorted, kCodeLengthTemplates.data(), kCodeLengthBits, table);
    return true;
  }
  if (unused < 0 || sorted.longest != 0) return false;
  // No code at all: zlib reads a bit for each length then, which is 0, and misses the end-of-block
  // code afterwards.
  FillIncomplete(sorted, kCodeLengthTemplates.data(), Base(0, 0), kCodeLengthBits, table);
  return true;
}

const InflateTables& FixedInflateTables() {
  static const InflateTables* const tables = [] {
    uint8_t lengths[kLitlenSymbols];
    std::fill(lengths, lengths + 144, 8);
    std::fill(lengths + 144, lengths + 256, 9);
    std::fill(lengths + 256, lengths + 280, 7);
    std::fill(lengths + 280, lengths + 288, 8);
    auto* const made = new InflateTables;
    (void)BuildLitlenTable(lengths, kLitlenSymbols, *made);
    std::fill(lengths, lengths + kDistanceSymbols, 5);
    (void)BuildDistanceTable(lengths, kDistanceSymbols, *made);
    return made;
  }();
  return *tables;
}

}  // namespace cais
