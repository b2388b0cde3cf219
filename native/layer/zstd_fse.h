#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

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

// Makes the 2^log states. Whatever bits come, a next state is one of them.
void BuildFseStates(const FseDistribution& distribution, FseState* states);

}  // namespace cais
