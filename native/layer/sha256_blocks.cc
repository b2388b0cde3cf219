#include "layer/sha256_blocks.h"

#include <cstdlib>

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace cais {

#ifdef __x86_64__

namespace {

// The round constants (FIPS 180-4, 4.2.2).
alignas(16) constexpr uint32_t kRoundConstants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

#define CAIS_SHA_TARGET __attribute__((target("sha,sse4.1")))

// One digest on its way: the instructions want its words as (a, b, e, f) and (c, d, g, h).
struct Lane {
  Sha256State* state;
  const char* bytes;
  __m128i abef;
  __m128i cdgh;
  __m128i schedule[4];  // the last sixteen words of the message schedule
};

CAIS_SHA_TARGET inline __m128i Load(const void* at) {
  return _mm_loadu_si128(static_cast<const __m128i*>(at));
}

CAIS_SHA_TARGET inline void LoadState(Lane& lane) {
  const __m128i dcba = Load(lane.state->data());
  const __m128i hgfe = Load(lane.state->data() + 4);
  const __m128i cdab = _mm_shuffle_epi32(dcba, 0xb1);
  const __m128i efgh = _mm_shuffle_epi32(hgfe, 0x1b);
  lane.abef = _mm_alignr_epi8(cdab, efgh, 8);
  lane.cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
}

CAIS_SHA_TARGET inline void StoreState(const Lane& lane) {
  const __m128i feba = _mm_shuffle_epi32(lane.abef, 0x1b);
  const __m128i dchg = _mm_shuffle_epi32(lane.cdgh, 0xb1);
  auto* const words = reinterpret_cast<__m128i*>(lane.state->data());
  _mm_storeu_si128(words, _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128(words + 1, _mm_alignr_epi8(dchg, feba, 8));
}

// The rounds 4 * kGroup to 4 * kGroup + 3, and what later rounds need of the message schedule.
template <int kGroup>
CAIS_SHA_TARGET inline void FourRounds(Lane& lane, __m128i big_endian) {
  __m128i* const words = lane.schedule;
  __m128i& now = words[kGroup % 4];
  __m128i& next = words[(kGroup + 1) % 4];
  __m128i& last = words[(kGroup + 3) % 4];
  if constexpr (kGroup < 4) {
    now = _mm_shuffle_epi8(Load(lane.bytes + 16 * kGroup), big_endian);
  }
  const __m128i input = _mm_add_epi32(now, Load(kRoundConstants + 4 * kGroup));
  lane.cdgh = _mm_sha256rnds2_epu32(lane.cdgh, lane.abef, input);
  if constexpr (kGroup >= 3 && kGroup < 15) {
    next = _mm_sha256msg2_epu32(_mm_add_epi32(next, _mm_alignr_epi8(now, last, 4)), now);
  }
  lane.abef = _mm_sha256rnds2_epu32(lane.abef, lane.cdgh, _mm_shuffle_epi32(input, 0x0e));
  if constexpr (kGroup >= 1 && kGroup < 13) last = _mm_sha256msg1_epu32(last, now);
}

// All groups of four rounds from kGroup on, those of all lanes side by side.
template <int kGroup, typename... Lanes>
CAIS_SHA_TARGET inline void RoundsFrom(__m128i big_endian, Lanes&... lanes) {
  (FourRounds<kGroup>(lanes, big_endian), ...);
  if constexpr (kGroup < 15) RoundsFrom<kGroup + 1>(big_endian, lanes...);
}

CAIS_SHA_TARGET inline void AddWords(Lane& lane, __m128i abef, __m128i cdgh) {
  lane.abef = _mm_add_epi32(lane.abef, abef);
  lane.cdgh = _mm_add_epi32(lane.cdgh, cdgh);
  lane.bytes += kSha256BlockBytes;
}

}  // namespace

bool HasSha256Blocks() {
  static const bool has = [] {
    unsigned int eax = 0;
    unsigned int ebx = 0;
    unsigned int ecx = 0;
    unsigned int edx = 0;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & bit_SSE4_1) == 0) return false;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & bit_SHA) != 0;
  }();
  return has;
}

CAIS_SHA_TARGET void Sha256Blocks(Sha256State& state, const char* bytes, size_t count) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  Lane lane{&state, bytes, {}, {}, {}};
  LoadState(lane);
  for (; count > 0; --count) {
    const Lane before = lane;
    RoundsFrom<0>(big_endian, lane);
    AddWords(lane, before.abef, before.cdgh);
  }
  StoreState(lane);
}

CAIS_SHA_TARGET void Sha256BlocksOfTwo(Sha256State& first, const char* first_bytes,
                                       Sha256State& second, const char* second_bytes,
                                       size_t count) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  Lane one{&first, first_bytes, {}, {}, {}};
  Lane two{&second, second_bytes, {}, {}, {}};
  LoadState(one);
  LoadState(two);
  for (; count > 0; --count) {
    const Lane one_before = one;
    const Lane two_before = two;
    RoundsFrom<0>(big_endian, one, two);
    AddWords(one, one_before.abef, one_before.cdgh);
    AddWords(two, two_before.abef, two_before.cdgh);
  }
  StoreState(one);
  StoreState(two);
}

#else

bool HasSha256Blocks() { return false; }
void Sha256Blocks(Sha256State&, const char*, size_t) { std::abort(); }
void Sha256BlocksOfTwo(Sha256State&, const char*, Sha256State&, const char*, size_t) {
  std::abort();
}

#endif

}  // namespace cais
