#include "layer/zstd_huffman.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "layer/backward_bits.h"
#include "layer/processor.h"
#include "layer/zstd_fse.h"

namespace cais {
namespace {

constexpr size_t kMaxSymbols = 256;
constexpr unsigned kMaxWeightLog = 6;
// A refilled word of a stream has at least 56 bits, so many codes of 11 bits.
constexpr size_t kCodesPerWord = 5;

// Weights as one finite state entropy stream of two states in turns. Returns how many, 0 when it
// is not right; the last symbol has none.
size_t ReadWeights(std::string_view input, uint8_t (&weights)[kMaxSymbols]) {
  FseDistribution distribution;
  if (ReadFseDistribution(input, kMaxWeightLog, kMaxFseSymbols, distribution) != nullptr) return 0;
  FseState states[1 << kMaxWeightLog];
  MakeFseStates(distribution, [&states](unsigned i, const FseState& state) { states[i] = state; });
  BackwardBits bits;
  if (!bits.Begin(input)) return 0;
  std::array<uint64_t, 2> place{bits.Take(distribution.log), bits.Take(distribution.log)};
  if (bits.is_overrun()) return 0;
  size_t count = 0;
  for (size_t turn = 0;; turn ^= 1) {
    const FseState& state = states[place[turn]];
    // One more for the other state, and one for the symbol without a weight.
    if (count + 2 >= kMaxSymbols) return 0;
    weights[count++] = state.symbol;
    bits.Refill();
    place[turn] = state.base + bits.Take(state.bits);
    if (!bits.is_overrun()) continue;
    weights[count++] = states[place[turn ^ 1]].symbol;
    return count;
  }
}

}  // namespace

const char* ZstdHuffman::Read(std::string_view& input) {
  constexpr const char* kCut = "the code of the literals ends early";
  if (input.empty()) return kCut;
  const size_t head = static_cast<unsigned char>(input[0]);
  uint8_t weights[kMaxSymbols];
  size_t count = 0;
  size_t taken = 0;
  if (head < 128) {
    taken = 1 + head;
    if (input.size() < taken) return kCut;
    count = ReadWeights(input.substr(1, head), weights);
    if (count == 0) return "the code of the literals is damaged";
  } else {
    count = head - 127;
    taken = 1 + (count + 1) / 2;
    if (input.size() < taken) return kCut;
    for (size_t i = 0; i < count; ++i) {
      const auto two = static_cast<unsigned char>(input[1 + i / 2]);
      weights[i] = i % 2 == 0 ? two >> 4 : two & 15;
    }
  }
  input.remove_prefix(taken);
  return Build(weights, count);
}

const char* ZstdHuffman::Build(const uint8_t* weights, size_t count) {
  constexpr const char* kWrong = "the code of the literals is not complete";
  // How many entries the symbols of each weight have.
  size_t of_weight[kMaxBits + 1] = {};
  size_t sum = 0;
  for (size_t i = 0; i < count; ++i) {
    if (weights[i] > kMaxBits) return kWrong;
    if (weights[i] > 0) of_weight[weights[i]] += size_t{1} << (weights[i] - 1);
  }
  for (const size_t entries : of_weight) sum += entries;
  if (sum == 0) return kWrong;
  const auto log = static_cast<unsigned>(std::bit_width(sum));
  // The last symbol has the rest.
  const size_t rest = (size_t{1} << log) - sum;
  if (log > kMaxBits || !std::has_single_bit(rest)) return kWrong;
  const auto last_weight = static_cast<unsigned>(std::bit_width(rest));
  of_weight[last_weight] += rest;
  // At least two symbols have the longest codes.
  if (of_weight[1] < 2 || of_weight[1] % 2 != 0) return kWrong;
  // In the order of their weights: those without one first, which have no place.
  uint8_t symbols[kMaxSymbols];
  size_t next[kMaxBits + 1];
  size_t begin = count + 1;
  for (size_t weight = log; weight > 0; --weight) {
    begin -= of_weight[weight] >> (weight - 1);
    next[weight] = begin;
  }
  next[0] = 0;
  for (size_t i = 0; i < count; ++i) symbols[next[weights[i]]++] = static_cast<uint8_t>(i);
  symbols[next[last_weight]] = static_cast<uint8_t>(count);
  const uint8_t* symbol = symbols + begin;
  ZstdHuffmanEntry* to = entries_;
  for (unsigned weight = 1; weight <= log; ++weight) {
    const size_t entries = size_t{1} << (weight - 1);
    for (const ZstdHuffmanEntry* const end = to + of_weight[weight]; to != end; to += entries) {
      const uint64_t entry = uint64_t{*symbol++} << 8 | (log + 1 - weight);
      // Whole words: what is too much is overwritten, or slack.
      for (size_t k = 0; k < entries; k += kWordEntries) {
        for (size_t j = 0; j < kWordEntries; j += 4) {
          const uint64_t four = entry * 0x0001000100010001u;
          std::memcpy(to + k + j, &four, sizeof four);
        }
      }
    }
  }
  log_ = log;
  return nullptr;
}

namespace {

// The end of a stream, code by code.
CAIS_INLINE bool FinishStream(const ZstdHuffmanEntry* entries, unsigned log, BackwardBits bits,
                              uint8_t* to, uint8_t* end) {
  for (; to != end; ++to) {
    bits.Refill();
    const ZstdHuffmanEntry entry = entries[bits.Peek(log)];
    *to = static_cast<uint8_t>(entry >> 8);
    bits.Skip(entry & 63);
  }
  return bits.is_at_end();
}

CAIS_INLINE bool DecodeStreams(const ZstdHuffmanEntry* entries, unsigned log,
                               BackwardBits (&streams)[4], uint8_t* to, size_t bytes) {
  const size_t part = (bytes + 3) / 4;
  uint8_t* out = to;
  size_t left = bytes - 3 * part;
  const unsigned shift = 64 - log;
  for (;;) {
    size_t turns = left / kCodesPerWord;
    for (const BackwardBits& stream : streams) turns = std::min(turns, stream.loads());
    if (turns == 0) break;
    BackwardBits::Top tops[4];
    for (size_t i = 0; i < 4; ++i) tops[i] = streams[i].GetTop();
    left -= turns * kCodesPerWord;
    for (; turns > 0; --turns, out += kCodesPerWord) {
      // In registers only when nothing is left of the loops.
#pragma GCC unroll 4
      for (size_t i = 0; i < 4; ++i) BackwardBits::LoadTop(tops[i]);
#pragma GCC unroll 5
      for (size_t k = 0; k < kCodesPerWord; ++k) {
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; ++i) {
          const ZstdHuffmanEntry entry = entries[tops[i].word >> shift];
          tops[i].word <<= entry & 63;
          out[i * part + k] = static_cast<uint8_t>(entry >> 8);
        }
      }
    }
    for (size_t i = 0; i < 4; ++i) streams[i].SetTop(tops[i]);
  }
  bool is_right = true;
  const auto done = static_cast<size_t>(out - to);
  for (size_t i = 0; i < 4; ++i) {
    uint8_t* const end = i < 3 ? to + (i + 1) * part : to + bytes;
    is_right &= FinishStream(entries, log, streams[i], to + i * part + done, end);
  }
  return is_right;
}

#ifdef __x86_64__
CAIS_AVX2 bool DecodeStreamsWithAvx2(const ZstdHuffmanEntry* entries, unsigned log,
                                     BackwardBits (&streams)[4], uint8_t* to, size_t bytes) {
  return DecodeStreams(entries, log, streams, to, bytes);
}
#endif

}  // namespace

bool ZstdHuffman::DecodeOne(std::string_view stream, uint8_t* to, size_t bytes) const {
  BackwardBits bits;
  return bits.Begin(stream) && FinishStream(entries_, log_, bits, to, to + bytes);
}

bool ZstdHuffman::DecodeFour(std::string_view streams, uint8_t* to, size_t bytes) const {
  constexpr size_t kJumpBytes = 6;
  if (streams.size() < kJumpBytes) return false;
  BackwardBits four[4];
  std::string_view rest = streams.substr(kJumpBytes);
  for (size_t i = 0; i < 4; ++i) {
    size_t size = rest.size();
    if (i < 3) {
      size = static_cast<unsigned char>(streams[2 * i]) +
             (size_t{static_cast<unsigned char>(streams[2 * i + 1])} << 8);
    }
    if (size > rest.size() || !four[i].Begin(rest.substr(0, size))) return false;
    rest.remove_prefix(size);
  }
  // Else the last one would have less than nothing.
  if (3 * ((bytes + 3) / 4) > bytes) return false;
#ifdef __x86_64__
  if (UseAvx2()) return DecodeStreamsWithAvx2(entries_, log_, four, to, bytes);
#endif
  return DecodeStreams(entries_, log_, four, to, bytes);
}

}  // namespace cais
