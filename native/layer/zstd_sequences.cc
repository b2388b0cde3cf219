#include "layer/zstd_sequences.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "layer/backward_bits.h"
#include "layer/processor.h"

namespace cais {
namespace {

constexpr const char* kCut = "the sequences end early";

using State = ZstdSequences::State;
using Tables = ZstdSequences::Tables;
using Recent = ZstdSequences::Recent;

constexpr unsigned kLiteralCodes = 36;
constexpr uint32_t kLiteralBases[kLiteralCodes] = {
    0,  1,  2,  3,  4,  5,  6,  7,  8,   9,   10,  11,   12,   13,   14,   15,    16,    18,
    20, 22, 24, 28, 32, 40, 48, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536};
constexpr uint8_t kLiteralBits[kLiteralCodes] = {0, 0, 0, 0, 0, 0,  0,  0,  0,  0,  0,  0,
                                                 0, 0, 0, 0, 1, 1,  1,  1,  2,  2,  3,  3,
                                                 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
constexpr unsigned kMatchCodes = 53;
constexpr uint32_t kMatchBases[kMatchCodes] = {
    3,  4,  5,  6,  7,  8,  9,  10,  11,  12,  13,   14,   15,   16,   17,    18,    19,   20,
    21, 22, 23, 24, 25, 26, 27, 28,  29,  30,  31,   32,   33,   34,   35,    37,    39,   41,
    43, 47, 51, 59, 67, 83, 99, 131, 259, 515, 1027, 2051, 4099, 8195, 16387, 32771, 65539};
constexpr uint8_t kMatchBits[kMatchCodes] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  0,  0,  0,  0,  0,  0, 0,
    0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
constexpr unsigned kDistanceCodes = 32;
// A window has at most 2^27 bytes here, and no distance is larger.
constexpr unsigned kMaxDistanceBits = 27;

constexpr FseDistribution kPredefinedLiterals = {
    {4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1,  1,  2,  2,
     2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1},
    36,
    6};
constexpr FseDistribution kPredefinedMatches = {
    {1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,  1,  1,  1,  1,  1,  1, 1,
     1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1},
    53,
    6};
constexpr FseDistribution kPredefinedDistances = {
    {1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1},
    29,
    5};

// A code: what its symbols mean, and its limits.
struct Code {
  unsigned symbols;
  unsigned max_log;
  const FseDistribution& predefined;
  uint32_t (*base)(unsigned symbol);
  uint8_t (*bits)(unsigned symbol);
};

constexpr Code kLiteralCode = {kLiteralCodes, 9, kPredefinedLiterals,
                               [](unsigned symbol) { return kLiteralBases[symbol]; },
                               [](unsigned symbol) { return kLiteralBits[symbol]; }};
constexpr Code kMatchCode = {kMatchCodes, 9, kPredefinedMatches,
                             [](unsigned symbol) { return kMatchBases[symbol]; },
                             [](unsigned symbol) { return kMatchBits[symbol]; }};
// 0 and 1 are for the recent distances; otherwise the number less 3 is the distance.
constexpr Code kDistanceCode = {
    kDistanceCodes, 8, kPredefinedDistances,
    [](unsigned symbol) { return symbol < 2 ? symbol : (uint32_t{1} << symbol) - 3; },
    [](unsigned symbol) { return static_cast<uint8_t>(symbol); }};

void BuildStates(const Code& code, const FseDistribution& distribution, State* to, unsigned& log) {
  FseState states[1 << kMaxFseLog];
  BuildFseStates(distribution, states);
  log = distribution.log;
  for (size_t i = 0; i < size_t{1} << log; ++i) {
    const FseState& state = states[i];
    to[i] = {state.base, code.bits(state.symbol), state.bits, code.base(state.symbol)};
  }
}

// One of the three tables. `has` says whether the one from before may be used again.
const char* ReadTable(const Code& code, unsigned mode, std::string_view& input, State* to,
                      unsigned& log, bool& has) {
  switch (mode) {
    case 0:
      BuildStates(code, code.predefined, to, log);
      break;
    case 1: {
      if (input.empty()) return kCut;
      const auto symbol = static_cast<unsigned char>(input[0]);
      input.remove_prefix(1);
      if (symbol >= code.symbols) return "a sequence code is unknown";
      to[0] = {0, code.bits(symbol), 0, code.base(symbol)};
      log = 0;
      break;
    }
    case 2: {
      FseDistribution distribution;
      const char* fault = ReadFseDistribution(input, code.max_log, code.symbols, distribution);
      if (fault != nullptr) return fault;
      BuildStates(code, distribution, to, log);
      break;
    }
    default:
      return has ? nullptr : "a table is used again that there was none of";
  }
  has = true;
  return nullptr;
}

// The recent distances as a vector, with the new one behind them: which of the four come next, by
// which of them is used. Without literals the newest would be no step forward: they count one
// further then, and the last is the newest less one.
typedef uint32_t Distances __attribute__((vector_size(16)));
typedef uint8_t Bytes __attribute__((vector_size(16)));
constexpr unsigned kNewestLessOne = 3;
constexpr unsigned kNewDistance = 4;
alignas(16) constexpr uint8_t kOrders[5][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {4, 5, 6, 7, 0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15},
    {8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15},
    {12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15},
    {12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15},
};

CAIS_INLINE Distances Reorder(Distances distances, unsigned number) {
  Bytes order;
  std::memcpy(&order, kOrders[number], sizeof order);
  return (Distances)__builtin_shuffle((Bytes)distances, order);
}

// A sequence that does not fit into one: up to five.
ZstdSequence* Split(uint32_t distance, size_t literals, size_t match, ZstdSequence* to) {
  constexpr size_t kMost = 0xffff;
  while (literals > 0 || match > 0) {
    const size_t part = std::min(literals, kMost);
    literals -= part;
    const size_t of_match = literals > 0 ? 0 : std::min(match, kMost);
    match -= of_match;
    // Before all literals are there, the distance may be too far.
    *to++ = {of_match > 0 ? distance : 1, static_cast<uint16_t>(part),
             static_cast<uint16_t>(of_match)};
  }
  return to;
}
// No block has room for more of them.
constexpr size_t kMaxLong = 2;

CAIS_INLINE const char* Loop(const Tables& tables, BackwardBits bits, size_t count, Recent& recent,
                             ZstdSequence* to, size_t& produced) {
  ZstdSequence* const begin = to;
  size_t literals_state = bits.Take(tables.literals_log);
  size_t distances_state = bits.Take(tables.distances_log);
  size_t matches_state = bits.Take(tables.matches_log);
  Distances distances = {recent.distances[0], recent.distances[1], recent.distances[2], 0};
  size_t long_ones = 0;
  for (;;) {
    // At most 53 bits at once, or so many of them that the loop goes the long way round.
    bits.Refill();
    const State& literals = tables.literals[literals_state];
    const State& matches = tables.matches[matches_state];
    const State& distance = tables.distances[distances_state];
    const bool is_wide = unsigned{literals.bits} + matches.bits + distance.bits > kMaxDistanceBits;
    if (__builtin_expect(is_wide, 0) && distance.bits > kMaxDistanceBits)
      return "a match is too far back";
    const uint32_t far = distance.base + static_cast<uint32_t>(bits.Take(distance.bits));
    const uint32_t match = matches.base + static_cast<uint32_t>(bits.Take(matches.bits));
    if (__builtin_expect(is_wide, 0)) bits.Refill();
    const uint32_t run = literals.base + static_cast<uint32_t>(bits.Take(literals.bits));

    // No branch: which of them is used cannot be foretold.
    const uint32_t recent_number = far + (literals.base == 0);
    const unsigned number = distance.bits > 1 ? kNewDistance : recent_number;
    distances[3] = __builtin_expect(number == kNewestLessOne, 0) ? distances[0] - 1 : far;
    distances = Reorder(distances, number);

    if (__builtin_expect((run | match) > 0xffff, 0)) {
      if (++long_ones > kMaxLong) return "a sequence is too long";
      to = Split(distances[0], run, match, to);
    } else {
      *to++ = {distances[0], static_cast<uint16_t>(run), static_cast<uint16_t>(match)};
    }
    if (--count == 0) break;
    literals_state = literals.next + bits.Take(literals.next_bits);
    matches_state = matches.next + bits.Take(matches.next_bits);
    distances_state = distance.next + bits.Take(distance.next_bits);
    if (__builtin_expect(bits.is_overrun(), 0)) return kCut;
  }
  for (size_t i = 0; i < 3; ++i) recent.distances[i] = distances[i];
  produced = static_cast<size_t>(to - begin);
  return bits.is_at_end() ? nullptr : "the sequences do not end where they should";
}

const char* LoopAnywhere(const Tables& tables, const BackwardBits& bits, size_t count,
                         Recent& recent, ZstdSequence* to, size_t& produced) {
  return Loop(tables, bits, count, recent, to, produced);
}

#ifdef __x86_64__
CAIS_AVX2 const char* LoopWithAvx2(const Tables& tables, const BackwardBits& bits, size_t count,
                                   Recent& recent, ZstdSequence* to, size_t& produced) {
  return Loop(tables, bits, count, recent, to, produced);
}
#endif

}  // namespace

void ZstdSequences::Reset() {
  has_literals_ = has_matches_ = has_distances_ = false;
  recent_ = {{1, 4, 8}};
}

const char* ZstdSequences::ReadTables(std::string_view& input) {
  if (input.empty()) return kCut;
  const auto modes = static_cast<unsigned char>(input[0]);
  input.remove_prefix(1);
  if ((modes & 3) != 0) return "reserved bits of the sequences are set";
  const char* fault = ReadTable(kLiteralCode, modes >> 6, input, tables_.literals,
                                tables_.literals_log, has_literals_);
  if (fault == nullptr) {
    fault = ReadTable(kDistanceCode, modes >> 4 & 3, input, tables_.distances,
                      tables_.distances_log, has_distances_);
  }
  if (fault == nullptr) {
    fault = ReadTable(kMatchCode, modes >> 2 & 3, input, tables_.matches, tables_.matches_log,
                      has_matches_);
  }
  return fault;
}

const char* ZstdSequences::Decode(std::string_view input, size_t count, ZstdSequence* to,
                                  size_t& produced) {
  BackwardBits bits;
  if (!bits.Begin(input)) return kCut;
#ifdef __x86_64__
  if (UseAvx2()) return LoopWithAvx2(tables_, bits, count, recent_, to, produced);
#endif
  return LoopAnywhere(tables_, bits, count, recent_, to, produced);
}

}  // namespace cais
