#include "layer/zstd_fse.h"

#include <bit>
#include <cstdlib>
#include <cstring>

#include "layer/little_endian.h"

namespace cais {
namespace {

// Bits from the front of some bytes, the lowest of each byte first.
class ForwardBits {
 public:
  explicit ForwardBits(std::string_view bytes) : bytes_(bytes) {}

  // Behind the end there are zeros.
  unsigned Peek(unsigned count) const {
    const size_t first = position_ / 8;
    unsigned value = 0;
    if (first + sizeof value <= bytes_.size()) {
      value = LoadLittle32(reinterpret_cast<const uint8_t*>(bytes_.data()) + first);
      return (value >> (position_ % 8)) & ((1u << count) - 1);
    }
    for (size_t i = 0; i < 4 && first + i < bytes_.size(); ++i) {
      value |= unsigned{static_cast<unsigned char>(bytes_[first + i])} << (8 * i);
    }
    return (value >> (position_ % 8)) & ((1u << count) - 1);
  }
  unsigned Take(unsigned count) {
    const unsigned value = Peek(count);
    position_ += count;
    return value;
  }
  void Skip(unsigned count) { position_ += count; }
  // Whole bytes.
  size_t taken() const { return (position_ + 7) / 8; }

 private:
  const std::string_view bytes_;
  size_t position_ = 0;
};

}  // namespace

const char* ReadFseDistribution(std::string_view& input, unsigned max_log, unsigned max_symbols,
                                FseDistribution& distribution) {
  ForwardBits bits(input);
  distribution.log = bits.Take(4) + kMinFseLog;
  if (distribution.log > max_log) return "an entropy table is too large";
  int left = 1 << distribution.log;
  unsigned symbols = 0;
  while (left > 0) {
    if (symbols == max_symbols) return "an entropy table has too many symbols";
    // One of 0 to left + 1. The smaller ones, so many that no bit is wasted, take a bit less.
    const unsigned values = static_cast<unsigned>(left) + 2;
    const auto wide = static_cast<unsigned>(std::bit_width(values - 1));
    const unsigned short_ones = (1u << wide) - values;
    const unsigned half = 1u << (wide - 1);
    unsigned value = bits.Peek(wide);
    if ((value & (half - 1)) < short_ones) {
      value &= half - 1;
      bits.Skip(wide - 1);
    } else {
      if (value >= half) value -= short_ones;
      bits.Skip(wide);
    }
    const int count = static_cast<int>(value) - 1;
    distribution.counts[symbols++] = static_cast<int16_t>(count);
    left -= std::abs(count);
    // Further symbols that do not occur.
    for (unsigned more = count == 0 ? 3 : 0; more == 3;) {
      more = bits.Take(2);
      if (symbols + more > max_symbols) return "an entropy table has too many symbols";
      for (unsigned i = 0; i < more; ++i) distribution.counts[symbols++] = 0;
    }
  }
  if (bits.taken() > input.size()) return "an entropy table ends early";
  input.remove_prefix(bits.taken());
  distribution.symbols = symbols;
  return nullptr;
}

constinit const std::array<FseTurns, kMaxFseLog - kMinFseLog + 1> kFseTurns = [] {
  std::array<FseTurns, kMaxFseLog - kMinFseLog + 1> made{};
  for (unsigned log = kMinFseLog; log <= kMaxFseLog; ++log) {
    const unsigned size = 1u << log;
    const unsigned step = (size >> 1) + (size >> 3) + 3;
    unsigned state = 0;
    for (unsigned turn = 0; turn < size; ++turn, state = (state + step) & (size - 1)) {
      made[log - kMinFseLog][state] = static_cast<uint16_t>(turn);
    }
  }
  return made;
}();

void SpreadFseSymbols(const FseDistribution& distribution, FseSpread& spread) {
  const unsigned size = 1u << distribution.log;
  const FseTurns& turns = kFseTurns[distribution.log - kMinFseLog];
  // Symbols less frequent than one state have the last states, whose turns are left out.
  struct {
    uint16_t turn;
    uint8_t symbol;
  } rare[kMaxFseSymbols];
  unsigned rare_count = 0;
  uint8_t frequent[sizeof spread.symbols];
  uint8_t* to = frequent;
  for (unsigned symbol = 0; symbol < distribution.symbols; ++symbol) {
    const int count = distribution.counts[symbol];
    spread.numbers[symbol] = static_cast<uint16_t>(count == -1 ? 1 : count);
    if (count == -1) {
      const uint16_t turn = turns[size - 1 - rare_count];
      unsigned at = rare_count++;
      for (; at > 0 && rare[at - 1].turn > turn; --at) rare[at] = rare[at - 1];
      rare[at] = {turn, static_cast<uint8_t>(symbol)};
      continue;
    }
    // Eight at a time: what is too much is overwritten, or slack.
    for (int i = 0; i < count; i += 8) StoreLittle64(to + i, symbol * 0x0101010101010101u);
    to += count;
  }
  const uint8_t* from = frequent;
  unsigned turn = 0;
  for (unsigned i = 0; i < rare_count; ++i) {
    const unsigned run = rare[i].turn - turn;
    std::memcpy(spread.symbols + turn, from, run);
    from += run;
    spread.symbols[rare[i].turn] = rare[i].symbol;
    turn = rare[i].turn + 1u;
  }
  std::memcpy(spread.symbols + turn, from, size - turn);
}

}  // namespace cais
