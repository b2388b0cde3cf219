#include "layer/zstd_copy.h"

#include <algorithm>
#include <cstring>

#include "layer/processor.h"

namespace cais {
namespace {

constexpr size_t kWordBytes = 32;

// As many bytes at a time as a vector register has, if it has.
CAIS_INLINE void CopyWord(uint8_t* to, const uint8_t* from) {
  typedef uint8_t Word __attribute__((vector_size(kWordBytes), aligned(1), may_alias));
  *reinterpret_cast<Word*>(to) = *reinterpret_cast<const Word*>(from);
}

typedef uint8_t Bytes __attribute__((vector_size(16), aligned(1), may_alias));

struct Patterns {
  // For each distance below 16: where each of 16 bytes is in the first so many.
  uint8_t places[16][16];
  // The greatest multiple of it that is no more than 16.
  uint8_t steps[16];
};

constexpr Patterns MakePatterns() {
  Patterns patterns{};
  for (uint8_t distance = 1; distance < 16; ++distance) {
    for (uint8_t i = 0; i < 16; ++i) patterns.places[distance][i] = i % distance;
    patterns.steps[distance] = 16 - 16 % distance;
  }
  return patterns;
}

constexpr Patterns kPatterns = MakePatterns();

// A match nearer than a word, with less than 32 bytes written behind it.
CAIS_INLINE void CopyNear(uint8_t* to, size_t distance, size_t bytes) {
  const uint8_t* from = to - distance;
  uint8_t* const end = to + bytes;
  if (distance >= sizeof(Bytes)) {
    for (; to < end; to += sizeof(Bytes), from += sizeof(Bytes)) {
      *reinterpret_cast<Bytes*>(to) = *reinterpret_cast<const Bytes*>(from);
    }
    return;
  }
  const Bytes pattern =
      __builtin_shuffle(*reinterpret_cast<const Bytes*>(from),
                        *reinterpret_cast<const Bytes*>(kPatterns.places[distance]));
  const size_t step = kPatterns.steps[distance];
  for (; to < end; to += step) *reinterpret_cast<Bytes*>(to) = pattern;
}

// A match that begins in the turn of the ring before, at `old_end - back`.
bool CopyOld(uint8_t* to, size_t back, size_t bytes, const ZstdOutput& output) {
  if (back > output.old_bytes) return false;
  const size_t part = std::min(back, bytes);
  std::memcpy(to, output.old_end - back, part);
  to += part;
  // The rest follows at the beginning of the ring, and may overlap.
  for (const uint8_t* from = output.begin; part < bytes && from != output.begin + (bytes - part);) {
    *to++ = *from++;
  }
  return true;
}

CAIS_INLINE std::optional<size_t> Loop(const ZstdSequence* sequences, size_t count,
                                       const uint8_t* literals, size_t literal_bytes,
                                       const ZstdOutput& output) {
  const uint8_t* const literals_end = literals + literal_bytes;
  const ZstdSequence* const sequences_end = sequences + count;
  uint8_t* to = output.to;
  for (; sequences != sequences_end; ++sequences) {
    const size_t run = sequences->literals;
    const size_t match = sequences->match;
    const size_t distance = sequences->distance;
    if (__builtin_expect(run > static_cast<size_t>(literals_end - literals), 0)) return {};
    if (__builtin_expect(run + match > static_cast<size_t>(output.end - to), 0)) return {};
    CopyWord(to, literals);
    for (size_t i = kWordBytes; __builtin_expect(i < run, 0); i += kWordBytes) {
      CopyWord(to + i, literals + i);
    }
    literals += run;
    to += run;
    // Also a distance of 0.
    const auto before = static_cast<size_t>(to - output.begin);
    if (__builtin_expect(distance - 1 >= before, 0)) {
      if (distance == 0 || distance > output.window_bytes) return {};
      if (!CopyOld(to, distance - before, match, output)) return {};
    } else if (__builtin_expect(distance >= kWordBytes, 1)) {
      const uint8_t* const from = to - distance;
      CopyWord(to, from);
      for (size_t i = kWordBytes; __builtin_expect(i < match, 0); i += kWordBytes) {
        CopyWord(to + i, from + i);
      }
    } else {
      CopyNear(to, distance, match);
    }
    to += match;
  }
  const auto rest = static_cast<size_t>(literals_end - literals);
  if (rest > static_cast<size_t>(output.end - to)) return {};
  std::memcpy(to, literals, rest);
  return static_cast<size_t>(to + rest - output.to);
}

std::optional<size_t> LoopAnywhere(const ZstdSequence* sequences, size_t count,
                                   const uint8_t* literals, size_t literal_bytes,
                                   const ZstdOutput& output) {
  return Loop(sequences, count, literals, literal_bytes, output);
}

#ifdef __x86_64__
CAIS_AVX2 std::optional<size_t> LoopWithAvx2(const ZstdSequence* sequences, size_t count,
                                             const uint8_t* literals, size_t literal_bytes,
                                             const ZstdOutput& output) {
  return Loop(sequences, count, literals, literal_bytes, output);
}
#endif

}  // namespace

std::optional<size_t> CopySequences(const ZstdSequence* sequences, size_t count,
                                    const uint8_t* literals, size_t literal_bytes,
                                    const ZstdOutput& output) {
#ifdef __x86_64__
  if (UseAvx2()) return LoopWithAvx2(sequences, count, literals, literal_bytes, output);
#endif
  return LoopAnywhere(sequences, count, literals, literal_bytes, output);
}

}  // namespace cais
