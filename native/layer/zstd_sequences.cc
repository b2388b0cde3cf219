#include "layer/zstd_sequences.h"

#include <algorithm>
#include <array>
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

// What a symbol of a code stands for: `base` and so many further bits.
struct Meaning {
  uint32_t base;
  uint8_t bits;
  // kRareBits when the value may need more than 16 bits or is refused.
  uint8_t rare_bits = 0;
};
constexpr uint8_t kRare = ZstdSequences::kRareBits;

constexpr unsigned kLiteralCodes = 36;
constexpr Meaning kLiteralMeanings[kLiteralCodes] = {
    {0, 0},     {1, 0},     {2, 0},     {3, 0},      {4, 0},      {5, 0},
    {6, 0},     {7, 0},     {8, 0},     {9, 0},      {10, 0},     {11, 0},
    {12, 0},    {13, 0},    {14, 0},    {15, 0},     {16, 1},     {18, 1},
    {20, 1},    {22, 1},    {24, 2},    {28, 2},     {32, 3},     {40, 3},
    {48, 4},    {64, 6},    {128, 7},   {256, 8},    {512, 9},    {1024, 10},
    {2048, 11}, {4096, 12}, {8192, 13}, {16384, 14}, {32768, 15}, {65536, 16, kRare}};
constexpr unsigned kMatchCodes = 53;
constexpr Meaning kMatchMeanings[kMatchCodes] = {{3, 0},
                                                 {4, 0},
                                                 {5, 0},
                                                 {6, 0},
                                                 {7, 0},
                                                 {8, 0},
                                                 {9, 0},
                                                 {10, 0},
                                                 {11, 0},
                                                 {12, 0},
                                                 {13, 0},
                                                 {14, 0},
                                                 {15, 0},
                                                 {16, 0},
                                                 {17, 0},
                                                 {18, 0},
                                                 {19, 0},
                                                 {20, 0},
                                                 {21, 0},
                                                 {22, 0},
                                                 {23, 0},
                                                 {24, 0},
                                                 {25, 0},
                                                 {26, 0},
                                                 {27, 0},
                                                 {28, 0},
                                                 {29, 0},
                                                 {30, 0},
                                                 {31, 0},
                                                 {32, 0},
                                                 {33, 0},
                                                 {34, 0},
                                                 {35, 1},
                                                 {37, 1},
                                                 {39, 1},
                                                 {41, 1},
                                                 {43, 2},
                                                 {47, 2},
                                                 {51, 3},
                                                 {59, 3},
                                                 {67, 4},
                                                 {83, 4},
                                                 {99, 5},
                                                 {131, 7},
                                                 {259, 8},
                                                 {515, 9},
                                                 {1027, 10},
                                                 {2051, 11},
                                                 {4099, 12},
                                                 {8195, 13},
                                                 {16387, 14},
                                                 {32771, 15, kRare},
                                                 {65539, 16, kRare}};
// A window has at most 2^27 bytes here, and no distance is larger.
constexpr unsigned kMaxDistanceBits = 27;
constexpr unsigned kDistanceCodes = 32;
constexpr std::array<Meaning, kDistanceCodes> kDistanceMeanings = [] {
  std::array<Meaning, kDistanceCodes> meanings{};
  for (uint8_t bits = 0; bits < kDistanceCodes; ++bits) {
    meanings[bits] = {1u << bits, bits, bits > kMaxDistanceBits ? kRare : uint8_t{0}};
  }
  return meanings;
}();
// The numbers from here on are distances, and this more than them; those below are for the recent
// ones.
constexpr uint32_t kFirstDistance = 4;
constexpr uint32_t kDistanceOffset = 3;

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
  const Meaning* meanings;
  unsigned symbols;
  unsigned max_log;
  const FseDistribution& predefined;
};

constexpr Code kLiteralCode = {kLiteralMeanings, kLiteralCodes, 9, kPredefinedLiterals};
constexpr Code kMatchCode = {kMatchMeanings, kMatchCodes, 9, kPredefinedMatches};
constexpr Code kDistanceCode = {kDistanceMeanings.data(), kDistanceCodes, 8, kPredefinedDistances};

template <typename Table>
CAIS_INLINE void SetState(Table& table, unsigned i, const Meaning& meaning, uint16_t next,
                          uint8_t next_bits) {
  table.states[i] = {next, next_bits, meaning.base};
  table.value_bits[i] = meaning.bits;
  table.all_bits[i] = static_cast<uint8_t>(meaning.bits + next_bits + meaning.rare_bits);
}

template <typename Table>
CAIS_INLINE void MakeStates(const Code& code, const FseDistribution& distribution, Table& to) {
  const Meaning* const meanings = code.meanings;
  MakeFseStates(
      distribution,
      [ meanings, &to ](unsigned i, const FseState& state) __attribute__((always_inline)) {
        SetState(to, i, meanings[state.symbol], state.base, state.bits);
      });
}

template <typename Table>
void MakeStatesAnywhere(const Code& code, const FseDistribution& distribution, Table& to) {
  MakeStates(code, distribution, to);
}

#ifdef __x86_64__
template <typename Table>
CAIS_AVX2 void MakeStatesWithAvx2(const Code& code, const FseDistribution& distribution,
                                  Table& to) {
  MakeStates(code, distribution, to);
}
#endif

template <typename Table>
void BuildStates(const Code& code, const FseDistribution& distribution, Table& to) {
  to.log = distribution.log;
#ifdef __x86_64__
  if (UseAvx2()) return MakeStatesWithAvx2(code, distribution, to);
#endif
  MakeStatesAnywhere(code, distribution, to);
}

// One of the three tables. `has` says whether the one from before may be used again.
template <typename Table>
const char* ReadTable(const Code& code, unsigned mode, std::string_view& input, Table& to,
                      bool& has) {
  switch (mode) {
    case 0:
      BuildStates(code, code.predefined, to);
      break;
    case 1: {
      if (input.empty()) return kCut;
      const auto symbol = static_cast<unsigned char>(input[0]);
      input.remove_prefix(1);
      if (symbol >= code.symbols) return "a sequence code is unknown";
      SetState(to, 0, code.meanings[symbol], 0, 0);
      to.log = 0;
      break;
    }
    case 2: {
      FseDistribution distribution;
      const char* fault = ReadFseDistribution(input, code.max_log, code.symbols, distribution);
      if (fault != nullptr) return fault;
      BuildStates(code, distribution, to);
      break;
    }
    default:
      return has ? nullptr : "a table is used again that there was none of";
  }
  has = true;
  return nullptr;
}

// The recent distances as a vector, with the new number behind them: which of the four come next,
// and what is added to the first of them, by that number and whether there are literals. Without
// them the newest would be no step forward: the recent ones count one further then, and the last is
// the newest less one.
typedef uint32_t Distances __attribute__((vector_size(16)));
typedef uint8_t Bytes __attribute__((vector_size(16)));
struct Order {
  uint8_t places[16];
  uint32_t added[4];
};
constexpr Order kNewest = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {}};
constexpr Order kSecond = {{4, 5, 6, 7, 0, 1, 2, 3, 8, 9, 10, 11}, {}};
constexpr Order kThird = {{8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7}, {}};
constexpr Order kNewestLessOne = {{0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7}, {0u - 1}};
constexpr Order kNew = {{12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7}, {0u - kDistanceOffset}};
// By twice the number, which is at least 1, and one more without literals.
alignas(sizeof(Order)) constexpr Order kOrders[2 * kFirstDistance + 2] = {
    {}, {}, kNewest, kSecond, kSecond, kThird, kThird, kNewestLessOne, kNew, kNew};

CAIS_INLINE Distances Reorder(Distances distances, uint32_t number, bool has_literals) {
  uint32_t order = std::min(number, kFirstDistance) * 2;
  // No branch: which of them is used cannot be foretold. The compiler is kept from making four
  // instructions of what are two, compare and add with carry.
  asm("" : "+r"(order));
  order += has_literals ? 0 : 1;
  distances[3] = number;
  Bytes places;
  Distances added;
  std::memcpy(&places, kOrders[order].places, sizeof places);
  std::memcpy(&added, kOrders[order].added, sizeof added);
  return (Distances)__builtin_shuffle((Bytes)distances, places) + added;
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

// The sequences of a block on their way.
class Decoder {
 public:
  CAIS_INLINE Decoder(const Tables& tables, const BackwardBits& bits, const Recent& recent,
                      ZstdSequence* to)
      : tables_(tables), bits_(bits), to_(to) {
    literals_state_ = bits_.Take(tables.literals.log);
    distances_state_ = bits_.Take(tables.distances.log);
    matches_state_ = bits_.Take(tables.matches.log);
    distances_ = Distances{recent.distances[0], recent.distances[1], recent.distances[2], 0};
  }

  // Returns what is wrong, or null.
  CAIS_INLINE const char* Run(size_t count) {
    // Without asking each time whether the input has so many bits.
    for (;;) {
      size_t sure = std::min(count - 1, bits_.before() / kMaxStepBytes);
      if (sure == 0) break;
      count -= sure;
      do {
        if (__builtin_expect(Step(), 1)) continue;
        if (const char* fault = Values<true>()) return fault;
        NextStates();
      } while (--sure > 0);
    }
    for (;;) {
      if (const char* fault = Values<false>()) return fault;
      if (--count == 0) break;
      NextStates();
      if (__builtin_expect(bits_.is_overrun(), 0)) return kCut;
    }
    return bits_.is_at_end() ? nullptr : "the sequences do not end where they should";
  }

  Recent recent() const { return {{distances_[0], distances_[1], distances_[2]}}; }
  const ZstdSequence* end() const { return to_; }

 private:
  // More than a sequence takes of the input, and what is read ahead of it.
  static constexpr size_t kMaxStepBytes = 16;
  // No block has room for more of them.
  static constexpr size_t kMaxLong = 2;

  // A sequence and the next states, from one word of the input. False: the word has not enough, or
  // a value is rare (once in two thousand times); nothing was done but a refill.
  //
  // What the loop waits for is the way from three states to the next three, since all of the rest
  // of a sequence is done meanwhile. So each place in the word is worked out by itself, with no
  // more than two sums behind the last number that is loaded; one value after the other has seven.
  CAIS_INLINE bool Step() {
    bits_.RefillSurely();
    const auto& literals = tables_.literals;
    const auto& matches = tables_.matches;
    const auto& distances = tables_.distances;
    const int begin = bits_.left();
    // In order: the three values, of distance, match and literals, then the three next states, of
    // literals, match and distance.
    const int distance_bits = distances.value_bits[distances_state_];
    const int match_bits = matches.value_bits[matches_state_];
    const int all_literals_bits = literals.all_bits[literals_state_];
    const int match_and_literals = matches.all_bits[matches_state_] + all_literals_bits;
    const int end = begin - distances.all_bits[distances_state_] - match_and_literals;
    if (__builtin_expect(end < 0, 0)) return false;
    const int distance_at = begin - distance_bits;
    const int next_match_at = distance_at - match_and_literals;
    const int next_literals_at = distance_at - (match_bits + all_literals_bits);
    const State& of_literals = literals.states[literals_state_];
    const State& of_match = matches.states[matches_state_];
    const State& of_distance = distances.states[distances_state_];
    const int literals_bits = literals.value_bits[literals_state_];
    distances_state_ = of_distance.next + bits_.Get(end, of_distance.next_bits);
    matches_state_ = of_match.next + bits_.Get(next_match_at, of_match.next_bits);
    literals_state_ = of_literals.next + bits_.Get(next_literals_at, of_literals.next_bits);
    const uint32_t number = of_distance.base + Bits(distance_at, distance_bits);
    const int match_at = distance_at - match_bits;
    const uint32_t match = of_match.base + Bits(match_at, match_bits);
    const uint32_t run = of_literals.base + Bits(match_at - literals_bits, literals_bits);
    bits_.SkipTo(end);
    distances_ = Reorder(distances_, number, of_literals.base > 0);
    *to_++ = {distances_[0], static_cast<uint16_t>(run), static_cast<uint16_t>(match)};
    return true;
  }

  // The values of any sequence, one after the other.
  template <bool kIsSure>
  CAIS_INLINE const char* Values() {
    const unsigned distance_bits = tables_.distances.value_bits[distances_state_];
    if (distance_bits > kMaxDistanceBits) return "a match is too far back";
    Refill<kIsSure>();
    const uint32_t number = Value(tables_.distances.states[distances_state_].base, distance_bits);
    const uint32_t match = Value(tables_.matches.states[matches_state_].base,
                                 tables_.matches.value_bits[matches_state_]);
    Refill<kIsSure>();
    const uint32_t literals_base = tables_.literals.states[literals_state_].base;
    const uint32_t run = Value(literals_base, tables_.literals.value_bits[literals_state_]);
    distances_ = Reorder(distances_, number, literals_base > 0);
    if ((run | match) > 0xffff && ++long_ones_ > kMaxLong) return "a sequence is too long";
    to_ = Split(distances_[0], run, match, to_);
    return nullptr;
  }

  CAIS_INLINE void NextStates() {
    Next(tables_.literals, literals_state_);
    Next(tables_.matches, matches_state_);
    Next(tables_.distances, distances_state_);
  }

  template <bool kIsSure>
  CAIS_INLINE void Refill() {
    if constexpr (kIsSure) {
      bits_.RefillSurely();
    } else {
      bits_.Refill();
    }
  }
  CAIS_INLINE uint32_t Bits(int at, int count) const {
    return static_cast<uint32_t>(bits_.Get(at, static_cast<unsigned>(count)));
  }
  CAIS_INLINE uint32_t Value(uint32_t base, unsigned bits) {
    return base + static_cast<uint32_t>(bits_.Take(bits));
  }
  template <typename Table>
  CAIS_INLINE void Next(const Table& table, size_t& state) {
    const State& from = table.states[state];
    state = from.next + bits_.Take(from.next_bits);
  }

  const Tables& tables_;
  BackwardBits bits_;
  ZstdSequence* to_;
  size_t literals_state_;
  size_t matches_state_;
  size_t distances_state_;
  Distances distances_;
  size_t long_ones_ = 0;
};

CAIS_INLINE const char* Loop(const Tables& tables, const BackwardBits& bits, size_t count,
                             Recent& recent, ZstdSequence* to, size_t& produced) {
  Decoder decoder(tables, bits, recent, to);
  if (const char* fault = decoder.Run(count)) return fault;
  recent = decoder.recent();
  produced = static_cast<size_t>(decoder.end() - to);
  return nullptr;
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
  const char* fault = ReadTable(kLiteralCode, modes >> 6, input, tables_.literals, has_literals_);
  if (fault == nullptr) {
    fault = ReadTable(kDistanceCode, modes >> 4 & 3, input, tables_.distances, has_distances_);
  }
  if (fault == nullptr) {
    fault = ReadTable(kMatchCode, modes >> 2 & 3, input, tables_.matches, has_matches_);
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
