// Compares the states of random distributions with those made in the words of RFC 8878, section
// 4.1.1: symbols put down step by step, then numbered.
//   zstd_fse_check SEED ROUNDS
// Prints how many states were the same; ends with 1 at the first difference.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "layer/zstd_fse.h"

namespace {

using cais::FseDistribution;
using cais::FseState;

std::mt19937_64 random_bits;

unsigned Below(unsigned bound) { return static_cast<unsigned>(random_bits() % bound); }

// Of any sort: all rare, one symbol alone, a few large ones.
FseDistribution RandomDistribution() {
  FseDistribution distribution{};
  distribution.log = cais::kMinFseLog + Below(cais::kMaxFseLog - cais::kMinFseLog + 1);
  const unsigned rare_of_ten = Below(11);
  const unsigned largest = 1 + Below(1u << Below(distribution.log + 1));
  for (unsigned left = 1u << distribution.log; left > 0;) {
    int count = Below(8) == 0 ? 0 : static_cast<int>(1 + Below(std::min(left, largest)));
    if (Below(10) < rare_of_ten) count = -1;
    if (distribution.symbols == cais::kMaxFseSymbols - 1) count = static_cast<int>(left);
    distribution.counts[distribution.symbols++] = static_cast<int16_t>(count);
    left -= static_cast<unsigned>(std::abs(count));
  }
  return distribution;
}

std::vector<FseState> ByTheBook(const FseDistribution& distribution) {
  const unsigned size = 1u << distribution.log;
  std::vector<int> symbols(size, -1);
  unsigned high = size;
  for (unsigned symbol = 0; symbol < distribution.symbols; ++symbol) {
    if (distribution.counts[symbol] == -1) symbols[--high] = static_cast<int>(symbol);
  }
  unsigned place = 0;
  for (unsigned symbol = 0; symbol < distribution.symbols; ++symbol) {
    for (int i = 0; i < distribution.counts[symbol]; ++i) {
      symbols[place] = static_cast<int>(symbol);
      do place = (place + (size >> 1) + (size >> 3) + 3) % size;
      while (place >= high && high > 0);
    }
  }
  std::vector<unsigned> numbers(distribution.symbols);
  for (unsigned symbol = 0; symbol < distribution.symbols; ++symbol) {
    numbers[symbol] = static_cast<unsigned>(std::abs(distribution.counts[symbol]));
  }
  std::vector<FseState> states;
  for (const int symbol : symbols) {
    const unsigned number = numbers[static_cast<size_t>(symbol)]++;
    unsigned bits = 0;
    while (number << bits < size) ++bits;
    states.push_back({static_cast<uint8_t>(symbol), static_cast<uint8_t>(bits),
                      static_cast<uint16_t>((number << bits) - size)});
  }
  return states;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  random_bits.seed(std::strtoull(argv[1], nullptr, 10));
  size_t same = 0;
  for (unsigned long round = std::strtoul(argv[2], nullptr, 10); round > 0; --round) {
    const FseDistribution distribution = RandomDistribution();
    const std::vector<FseState> expected = ByTheBook(distribution);
    bool is_same = true;
    cais::MakeFseStates(distribution, [&](unsigned i, const FseState& state) {
      is_same &= state.symbol == expected[i].symbol && state.bits == expected[i].bits &&
                 state.base == expected[i].base;
      ++same;
    });
    if (is_same) continue;
    std::printf("seed %s, %lu rounds before the last: 2^%u states of %u symbols differ\n", argv[1],
                round, distribution.log, distribution.symbols);
    return 1;
  }
  std::printf("same %zu\n", same);
  return 0;
}
