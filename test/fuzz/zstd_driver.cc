// Drives zstd_fuzz.cc: frames of all levels and parameters of the library, from data that brings
// out each way of copying a match, and mutations of them.
//   PROGRAM ITERATIONS RANDOM_SEED
// The input of a run is written to $CRASH_FILE, if set, before the run.

#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "stream_mutation.h"

void RequireDecoded(const std::string& stream, const std::string& data);

namespace {

std::string MakeData(Random& random) {
  // Now and then more than a few blocks, and than the ring.
  const size_t most = random() % 16 == 0 ? 2'000'000 : random() % 4 == 0 ? 300'000 : 5000;
  const size_t length = Below(random, most);
  switch (random() % 7) {
    case 0:
      return std::string(length, '\0');
    case 1:
      return RandomBytes(random, length, 256);
    case 2:
      return RandomBytes(random, length, 2 + static_cast<unsigned>(Below(random, 40)));
    case 3: {  // a short period
      const std::string period = RandomBytes(random, 1 + Below(random, 300), 256);
      std::string made;
      while (made.size() < length) made += period;
      return made;
    }
    case 4: {  // all lengths and distances of matches
      std::string made = RandomBytes(random, 64, 256);
      while (made.size() < length) {
        const size_t distance =
            1 + Below(random, random() % 2 ? std::min<size_t>(made.size(), 64) : made.size());
        const size_t run = 3 + Below(random, random() % 16 == 0 ? 140'000 : 60);
        for (size_t i = 0; i < run; ++i) made += made[made.size() - distance];
        made += RandomBytes(random, random() % 64 == 0 ? Below(random, 140'000) : random() % 20,
                            random() % 2 ? 256 : 20);
      }
      return made;
    }
    case 5: {  // random and repeated parts, of about a block
      std::string made;
      while (made.size() < length) {
        made += random() % 2 ? RandomBytes(random, Below(random, 200'000), 256)
                             : std::string(Below(random, 200'000), 'r');
      }
      return made;
    }
    default: {
      constexpr std::string_view kWords[] = {"the ",    "layer ", "of ",  "an ",
                                             "image\n", "0x",     "/usr/"};
      std::string made;
      while (made.size() < length) {
        made += kWords[random() % std::size(kWords)];
        if (random() % 3 == 0) made += std::to_string(random() % 100000);
      }
      return made;
    }
  }
}

std::string Frame(Random& random, const std::string& data) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  const auto set = [context](ZSTD_cParameter parameter, int value) {
    const size_t result = ZSTD_CCtx_setParameter(context, parameter, value);
    if (ZSTD_isError(result)) {
      std::fprintf(stderr, "%d to %d: %s\n", parameter, value, ZSTD_getErrorName(result));
      std::abort();
    }
  };
  set(ZSTD_c_compressionLevel, static_cast<int>(Below(random, 25)) - 5);
  if (random() % 2) set(ZSTD_c_windowLog, 10 + static_cast<int>(Below(random, 12)));
  if (random() % 4 == 0) set(ZSTD_c_minMatch, 3 + static_cast<int>(Below(random, 5)));
  if (random() % 4 == 0) set(ZSTD_c_strategy, 1 + static_cast<int>(Below(random, 9)));
  if (random() % 4 == 0) set(ZSTD_c_enableLongDistanceMatching, 1);
  set(ZSTD_c_checksumFlag, static_cast<int>(random() % 2));
  set(ZSTD_c_contentSizeFlag, static_cast<int>(random() % 2));
  if (random() % 2) (void)ZSTD_CCtx_setPledgedSrcSize(context, data.size());
  std::string out(ZSTD_compressBound(data.size()) + 100'000, 0);
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  ZSTD_inBuffer from{data.data(), data.size(), 0};
  // Sometimes with blocks that end early.
  for (size_t flushes = random() % 2 ? random() % 8 : 0; flushes > 0; --flushes) {
    from.size = from.pos + Below(random, data.size() - from.pos + 1);
    if (ZSTD_isError(ZSTD_compressStream2(context, &to, &from, ZSTD_e_flush))) std::abort();
  }
  from.size = data.size();
  if (ZSTD_compressStream2(context, &to, &from, ZSTD_e_end) != 0) std::abort();
  ZSTD_freeCCtx(context);
  out.resize(to.pos);
  return out;
}

struct Stream {
  std::string bytes;
  std::string data;
};

Stream MakeStream(Random& random) {
  Stream stream;
  do {
    const std::string data = MakeData(random);
    stream.data += data;
    stream.bytes += Frame(random, data);
    if (random() % 8 == 0) stream.bytes += std::string("\x5a\x2a\x4d\x18\x03\0\0\0abc", 11);
  } while (random() % 4 == 0);
  return stream;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  Random random(std::strtoull(argv[2], nullptr, 10));
  const uint64_t iterations = std::strtoull(argv[1], nullptr, 10);
  for (uint64_t runs = 0; runs < iterations;) {
    const Stream stream = MakeStream(random);
    Run(stream.bytes);
    RequireDecoded(stream.bytes, stream.data);
    // Long ones take long.
    const int mutants = stream.bytes.size() > 100'000 ? 2 : 20;
    for (int i = 0; i < mutants && runs < iterations; ++i, ++runs) {
      std::string mutated = stream.bytes;
      for (size_t mutations = 1 + random() % 3; mutations > 0; --mutations)
        Mutate(mutated, random, 200);
      Run(mutated);
    }
  }
  std::printf("%llu runs\n", static_cast<unsigned long long>(iterations));
  return 0;
}
