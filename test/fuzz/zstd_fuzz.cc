// Our own decoder of zstd against the library: any input, in pieces of any sizes, gives the same
// bytes where both accept it; what the library accepts is refused only for what it lets pass (see
// IsStricter).

#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>

#include "layer/processor.h"
#include "layer/zstd_reader.h"
#include "layer/zstd_stream.h"

namespace {

using Random = std::minstd_rand;

constexpr size_t kMaxOutputBytes = 8 << 20;

struct Outcome {
  std::string output;
  std::string fault;      // empty: none
  bool complete = false;  // not given up
};

Outcome ByLibrary(const std::string& input) {
  Outcome outcome;
  ZSTD_DStream* stream = ZSTD_createDStream();
  (void)ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, 27);
  ZSTD_inBuffer in{input.data(), input.size(), 0};
  std::string part(1 << 18, 0);
  size_t result = 1;
  for (bool full = true; in.pos < in.size || full;) {
    ZSTD_outBuffer out{part.data(), part.size(), 0};
    result = ZSTD_decompressStream(stream, &out, &in);
    if (ZSTD_isError(result)) {
      outcome.fault = ZSTD_getErrorName(result);
      outcome.complete = true;
      break;
    }
    outcome.output.append(part, 0, out.pos);
    if (outcome.output.size() > kMaxOutputBytes) break;
    full = out.pos == out.size;
  }
  if (outcome.fault.empty() && outcome.output.size() <= kMaxOutputBytes) {
    outcome.complete = true;
    if (result != 0) outcome.fault = "truncated";
  }
  ZSTD_freeDStream(stream);
  return outcome;
}

Outcome ByOwn(const std::string& input, Random& random, size_t in_bound, size_t piece_bytes) {
  Outcome outcome;
  auto opened = cais::OpenZstd({.pieces = {piece_bytes, 2, {}, {}}});
  cais::Decompressor& zstd = *opened.value();
  const auto fail = [&outcome](const cais::Failure& failure) {
    outcome.fault = failure.path;
    outcome.complete = true;
    return outcome;
  };
  const auto follow = [&]() -> cais::Status {
    for (;;) {
      auto followed = zstd.Follow();
      if (!followed.ok()) return std::move(followed.failure());
      auto& [piece, next] = followed.value();
      if (piece != nullptr) outcome.output += piece->view();
      if (next != cais::Decompressor::Followed::kMore) return cais::Done{};
      if (outcome.output.size() > kMaxOutputBytes) return cais::Done{};
    }
  };
  for (size_t at = 0; at < input.size();) {
    const size_t length = std::min(input.size() - at, 1 + random() % in_bound);
    // Exactly as long, on the heap: accesses beyond them are seen.
    const auto in = std::make_unique_for_overwrite<char[]>(length);
    input.copy(in.get(), length, at);
    at += length;
    for (std::string_view rest(in.get(), length); !rest.empty();) {
      auto step = zstd.Run(rest);
      if (!step.ok()) return fail(step.failure());
      rest.remove_prefix(step.value().consumed);
      if (step.value().is_full || random() % 2 == 0) {
        if (auto followed = follow(); !followed.ok()) return fail(followed.failure());
      }
      if (outcome.output.size() > kMaxOutputBytes) return outcome;
    }
  }
  auto finished = zstd.Finish();
  if (!finished.ok()) return fail(finished.failure());
  if (auto followed = follow(); !followed.ok()) return fail(followed.failure());
  outcome.complete = outcome.output.size() <= kMaxOutputBytes;
  return outcome;
}

// Refused by us alone: a match farther back than the window says, which the library takes when it
// has the bytes by chance; literals whose streams do not end where they should; a code of 12 bits;
// a byte that is repeated more often than a block may have bytes; and what newer versions of the
// library refuse as well.
bool IsStricter(const std::string& fault) {
  for (const char* of :
       {"a match or a literal is not there", "literals are damaged", "not complete",
        "a block is too large", "reserved bits of the sequences", "the sequences end early",
        "the sequences do not end where they should", "a block ends early"}) {
    if (fault.find(of) != std::string::npos) return true;
  }
  return false;
}

Outcome ByOwn(const std::string& input) {
  uint32_t seed = 1;
  for (const char byte : input) seed = seed * 31 + static_cast<unsigned char>(byte);
  Random random(seed);
#ifdef __x86_64__
  static const bool has_avx2 = cais::UseAvx2();
  cais::UseAvx2() = has_avx2 && random() % 2 == 0;
#endif
  constexpr size_t kInBounds[] = {1, 7, 300, 5000, 1 << 18};
  constexpr size_t kPieceBytes[] = {1, 1000, 1 << 17, 1 << 19};
  return ByOwn(input, random, kInBounds[random() % std::size(kInBounds)],
               kPieceBytes[random() % std::size(kPieceBytes)]);
}

}  // namespace

// For streams that the library has made.
void RequireDecoded(const std::string& stream, const std::string& data) {
  const Outcome own = ByOwn(stream);
  if (!own.complete || (own.fault.empty() && own.output == data)) return;
  std::fprintf(stderr, "%zu bytes, own: %zu bytes, %s\n", data.size(), own.output.size(),
               own.fault.c_str());
  std::abort();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  if (!cais::IsZstdMagic(input)) return 0;
  const Outcome library = ByLibrary(input);
  const Outcome own = ByOwn(input);
  if (!library.complete || !own.complete) return 0;
  const bool same = library.fault.empty() == own.fault.empty() &&
                    (!library.fault.empty() || library.output == own.output);
  if (same || (library.fault.empty() && IsStricter(own.fault))) return 0;
  std::fprintf(stderr, "library: %zu bytes, %s\nown: %zu bytes, %s\n", library.output.size(),
               library.fault.c_str(), own.output.size(), own.fault.c_str());
  std::abort();
}
