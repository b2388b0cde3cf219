// Our own decoder of DEFLATE and gzip against zlib: any input, in pieces of any sizes, gives the
// same bytes up to the end or the fault, ends at the same place and has the same fault.

#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>

#include "layer/gzip_inflater.h"
#include "layer/inflate.h"
#include "layer/processor.h"

namespace {

using Random = std::minstd_rand;

constexpr size_t kMaxOutputBytes = 1 << 18;
// Of a byte each, for instance: more pieces than this test waits for.
constexpr int kMaxPieces = 2000;

struct Step {
  size_t consumed;
  size_t produced;
  bool ended;
  std::string fault;
};

struct Outcome {
  std::string output;
  std::string fault;
  size_t consumed = 0;
  bool ended = false;
  bool complete = false;  // not given up before the end of the input
};

// Calls `run` with pieces of up to so many bytes until nothing goes on, or there is more output
// than this test waits for.
template <typename RunPiece>
Outcome Drive(const std::string& input, Random& random, size_t in_bound, size_t out_bound,
              RunPiece run) {
  Outcome outcome;
  size_t at = 0;
  for (int pieces = 0; pieces < kMaxPieces && outcome.output.size() < kMaxOutputBytes; ++pieces) {
    const size_t in_bytes = std::min(input.size() - at, 1 + random() % in_bound);
    const size_t out_bytes = 1 + random() % out_bound;
    // Exactly as long, on the heap: accesses beyond them are seen.
    const auto in = std::make_unique_for_overwrite<uint8_t[]>(in_bytes);
    const auto out = std::make_unique_for_overwrite<uint8_t[]>(out_bytes);
    std::copy_n(input.begin() + static_cast<ptrdiff_t>(at), in_bytes, in.get());
    const Step step = run(in.get(), in_bytes, out.get(), out_bytes);
    if (step.consumed > in_bytes || step.produced > out_bytes) std::abort();
    outcome.output.append(reinterpret_cast<char*>(out.get()), step.produced);
    at += step.consumed;
    outcome.consumed = at;
    outcome.ended = step.ended;
    outcome.fault = step.fault;
    outcome.complete =
        step.ended || !step.fault.empty() || (step.produced < out_bytes && at == input.size());
    if (outcome.complete) break;
    // Input was the limit, so all of it must be taken.
    if (step.produced < out_bytes && step.consumed < in_bytes) std::abort();
  }
  return outcome;
}

Outcome ByZlib(const std::string& input, int window_bits) {
  z_stream stream{};
  if (inflateInit2(&stream, window_bits) != Z_OK) std::abort();
  Random random(1);
  const Outcome outcome =
      Drive(input, random, kMaxOutputBytes, kMaxOutputBytes,
            [&](uint8_t* in, size_t in_bytes, uint8_t* out, size_t out_bytes) {
              stream.next_in = in;
              stream.avail_in = static_cast<uInt>(in_bytes);
              stream.next_out = out;
              stream.avail_out = static_cast<uInt>(out_bytes);
              const int result = inflate(&stream, Z_NO_FLUSH);
              const bool failed = result == Z_DATA_ERROR || result == Z_NEED_DICT;
              return Step{in_bytes - stream.avail_in, out_bytes - stream.avail_out,
                          result == Z_STREAM_END, failed ? stream.msg : ""};
            });
  (void)inflateEnd(&stream);
  return outcome;
}

Outcome ByInflate(cais::Inflate& inflate, const std::string& input, Random& random, size_t in_bound,
                  size_t out_bound) {
  inflate.Reset();
  return Drive(input, random, in_bound, out_bound,
               [&](uint8_t* in, size_t in_bytes, uint8_t* out, size_t out_bytes) {
                 const auto step = inflate.Run(in, in_bytes, out, out_bytes);
                 return Step{step.consumed, step.produced, step.ended,
                             step.fault == nullptr ? "" : step.fault};
               });
}

Outcome ByOwn(cais::GzipInflater& inflater, const std::string& input, Random& random,
              size_t in_bound, size_t out_bound) {
  inflater.Reset();
  return Drive(input, random, in_bound, out_bound,
               [&](uint8_t* in, size_t in_bytes, uint8_t* out, size_t out_bytes) {
                 auto step = inflater.Run({reinterpret_cast<char*>(in), in_bytes},
                                          reinterpret_cast<char*>(out), out_bytes);
                 constexpr size_t kPrefix = sizeof "Cannot decompress gzip: " - 1;
                 if (!step.ok()) return Step{0, 0, false, step.failure().path.substr(kPrefix)};
                 return Step{step.value().consumed, step.value().produced, step.value().ended, ""};
               });
}

// Where the output may stop early, as a failing call of GzipInflater does not tell what came out,
// or as there is too much of it, only the beginning is compared.
void RequireSame(const char* what, const Outcome& zlib, const Outcome& own, bool all_output) {
  const size_t common = std::min(zlib.output.size(), own.output.size());
  bool same = zlib.output.compare(0, common, own.output, 0, common) == 0;
  if (zlib.complete && own.complete) {
    same = same && zlib.fault == own.fault && zlib.ended == own.ended;
    if (all_output || own.fault.empty()) same = same && zlib.output.size() == own.output.size();
    if (zlib.ended) same = same && zlib.consumed == own.consumed;
  }
  if (same) return;
  std::fprintf(stderr,
               "%s\nzlib: %zu bytes, ended %d at %zu, %s\nown: %zu bytes, ended %d at %zu, %s\n",
               what, zlib.output.size(), zlib.ended, zlib.consumed, zlib.fault.c_str(),
               own.output.size(), own.ended, own.consumed, own.fault.c_str());
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  uint32_t seed = 1;
  for (const char byte : input) seed = seed * 31 + static_cast<unsigned char>(byte);
  Random random(seed);
#ifdef __x86_64__
  static const bool has_avx2 = cais::UseAvx2();
  cais::UseAvx2() = has_avx2 && random() % 2 == 0;
#endif
  static cais::Inflate inflate;
  static const auto verifying = cais::OpenOwnInflater(true);
  constexpr size_t kBounds[] = {1, 2, 9, 60, 400, 1000, 40000, kMaxOutputBytes};
  const auto bound = [&] { return kBounds[random() % std::size(kBounds)]; };
  const size_t in_bound = bound();
  const size_t out_bound = bound();
  if (size >= 2 && input[0] == '\x1f' && input[1] == '\x8b') {
    RequireSame("gzip", ByZlib(input, 15 + 16),
                ByOwn(*verifying, input, random, in_bound, out_bound), false);
    return 0;
  }
  const Outcome zlib = ByZlib(input, -15);
  RequireSame("pieces", zlib, ByInflate(inflate, input, random, in_bound, out_bound), true);
  RequireSame("whole", zlib, ByInflate(inflate, input, random, kMaxOutputBytes, kMaxOutputBytes),
              true);
  return 0;
}
