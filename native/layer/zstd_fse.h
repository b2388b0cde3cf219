#pragma once

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

// The symbol of each of the 2^log states, and the number of the first state of each symbol, which
// the others follow in order.
void SpreadFseSymbols(const FseDistribution& distribution, uint8_t* symbols, uint16_t* numbers);

// Calls `make(index, state)` for each of the 2^log states. Whatever bits come, a next state is one
// of them.
template <typename Make>
CAIS_INLINE void MakeFseStates(const FseDistribution& distribution, Make make) {
  uint8_t symbols[1 << kMaxFseLog];
  uint16_t numbers[kMaxFseSymbols];
  SpreadFseSymbols(distribution, symbols, numbers);
  const unsigned size = 1u << distribution.log;
  for (unsigned i = 0; i < size; ++i) {
    const unsigned number = numbers[symbols[i]]++;
    const unsigned bits = distribution.log + 1 - static_cast<unsigned>(std::bit_width(number));
    make(i, FseState{symbols[i], static_cast<uint8_t>(bits),
                     static_cast<uint16_t>((number << bits) - size)});
  }
}

}  // namespace cais
