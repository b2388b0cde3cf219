#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "layer/processor.h"

namespace cais {

// Finite state entropy, as Zstandard uses it (RFC 8878, section 4.1).

// The greatest numbers of states (as logarithms) and symbols that a table of any kind has.
inline constexpr unsigned kMaxFseLog = 9;
inline constexpr unsigned kMaxFseSymbols = 53;

// How often each symbol is to be expected, of 2^log times in all; -1 is less than once.
struct FseDistribution {
  int16_t counts[kMaxFseSymbols];
  unsigned symbols;
  unsigned log;
};

// Reads a distribution from the front of `input`, and takes it off. Returns what is wrong with it,
// or null.
const char* ReadFseDistribution(std::string_view& input, unsigned max_log, unsigned max_symbols,
                                FseDistribution& distribution);

// A state: its symbol, and how to get to the next one: `base` plus the next `bits` bits.
struct FseState {
  uint8_t symbol;
  uint8_t bits;
  uint16_t base;
};

// States are given to symbols in turns, each so many states behind the one before, round and round:
// the turn of each state, by the logarithm of their number.
inline constexpr unsigned kMinFseLog = 5;
using FseTurns = std::array<uint16_t, 1 << kMaxFseLog>;
extern const std::array<FseTurns, kMaxFseLog - kMinFseLog + 1> kFseTurns;

// Who has each turn. A symbol's states have numbers, in their order, from `numbers` on.
struct FseSpread {
  static constexpr size_t kSlackBytes = 8;
  uint8_t symbols[(1 << kMaxFseLog) + kSlackBytes];
  uint16_t numbers[kMaxFseSymbols];
};
void SpreadFseSymbols(const FseDistribution& distribution, FseSpread& spread);

// Calls `make(index, state)` for each of the 2^log states. Whatever bits come, a next state is one
// of them.
template <typename Make>
CAIS_INLINE void MakeFseStates(const FseDistribution& distribution, Make make) {
  FseSpread spread;
  SpreadFseSymbols(distribution, spread);
  const FseTurns& turns = kFseTurns[distribution.log - kMinFseLog];
  // The compiler cannot know that `make` does not change it.
  const unsigned log = distribution.log;
  const unsigned size = 1u << log;
  for (unsigned i = 0; i < size; ++i) {
    const uint8_t symbol = spread.symbols[turns[i]];
    const unsigned number = spread.numbers[symbol]++;
    const unsigned bits = log + 1 - static_cast<unsigned>(std::bit_width(number));
    make(i, FseState{symbol, static_cast<uint8_t>(bits),
                     static_cast<uint16_t>((number << bits) - size)});
  }
}

}  // namespace cais
