// Drives inflate_fuzz.cc: streams of each level and strategy of zlib, from data that brings out
// each way of copying a match, and mutations of them; and one stream for each fault.
//   PROGRAM ITERATIONS RANDOM_SEED
// The input of a run is written to $CRASH_FILE, if set, before the run.

#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "layer/inflate.h"
#include "stream_mutation.h"

namespace {

std::string MakeData(Random& random) {
  const size_t length = 1 + Below(random, random() % 16 == 0 ? 100000 : 3000);
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
        const size_t run = 3 + Below(random, random() % 4 == 0 ? 256 : 12);
        for (size_t i = 0; i < run; ++i) made += made[made.size() - distance];
        if (random() % 2) made += static_cast<char>(random());
      }
      return made;
    }
    case 5: {  // about as far back as possible
      const std::string piece = RandomBytes(random, 300, 256);
      const size_t gap = 32768 - 262 - 300 + Below(random, 263);
      return piece + std::string(gap, 'g') + piece + RandomBytes(random, 50, 256) + piece;
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

std::string Deflated(Random& random, const std::string& data, bool gzip) {
  z_stream stream{};
  constexpr int kStrategies[] = {Z_DEFAULT_STRATEGY, Z_FILTERED, Z_HUFFMAN_ONLY, Z_RLE, Z_FIXED};
  const int level = static_cast<int>(Below(random, 10));
  const int memory = 1 + static_cast<int>(Below(random, 9));
  if (deflateInit2(&stream, level, Z_DEFLATED, gzip ? 15 + 16 : -15, memory,
                   kStrategies[random() % std::size(kStrategies)]) != Z_OK) {
    std::abort();
  }
  gz_header header{};
  Bytef text[] = "name";
  if (gzip && random() % 2) {
    header.extra = random() % 2 ? text : nullptr;
    header.extra_len = 3;
    header.name = random() % 2 ? text : nullptr;
    header.comment = random() % 2 ? text : nullptr;
    header.hcrc = static_cast<int>(random() % 2);
    (void)deflateSetHeader(&stream, &header);
  }
  std::string out(deflateBound(&stream, data.size()) + 4096, 0);
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  // Sometimes in two parts, with the empty block of a flush between them.
  stream.avail_in = static_cast<uInt>(Below(random, data.size() + 1));
  const auto first = stream.avail_in;
  constexpr int kFlushes[] = {Z_NO_FLUSH, Z_PARTIAL_FLUSH, Z_SYNC_FLUSH, Z_FULL_FLUSH};
  (void)deflate(&stream, kFlushes[random() % std::size(kFlushes)]);
  stream.avail_in += static_cast<uInt>(data.size()) - first;
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) std::abort();
  out.resize(stream.total_out);
  (void)deflateEnd(&stream);
  if (random() % 4 == 0) out += RandomBytes(random, Below(random, 20), 256);
  return out;
}

// Fields of so many bits, the first one lowest.
struct Field {
  unsigned bits;
  uint32_t value;
};

std::string Pack(const std::vector<Field>& fields) {
  std::string packed;
  size_t at = 0;
  for (const Field& field : fields) {
    for (unsigned i = 0; i < field.bits; ++i, ++at) {
      if (at % 8 == 0) packed += '\0';
      packed.back() = static_cast<char>(packed.back() | ((field.value >> i & 1) << at % 8));
    }
  }
  return packed + std::string(8, '\0');
}

// A dynamic block whose code lengths have codes of two bits for 0, 1, 2 and 18 (00, 10, 01, 11 as
// they are written).
std::vector<Field> Dynamic(std::vector<Field> lengths) {
  std::vector<Field> fields{{1, 1}, {2, 2}, {5, 0}, {5, 0}, {4, 14}};
  // 16 17 18 0 8 7 9 6 10 5 11 4 12 3 13 2 14 1
  for (const uint32_t bits : {0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2}) {
    fields.push_back({3, bits});
  }
  fields.insert(fields.end(), lengths.begin(), lengths.end());
  return fields;
}

void RequireFaults() {
  const Field zero{2, 0}, one{2, 2}, two{2, 1}, zeros{2, 3};
  std::vector<Field> repeat_first{{1, 1}, {2, 2}, {5, 0}, {5, 0}, {4, 0},
                                  {3, 1}, {3, 0}, {3, 0}, {3, 1}};
  repeat_first.push_back({1, 1});
  const struct {
    const char* fault;
    std::vector<Field> fields;
  } kCases[] = {
      {"invalid block type", {{1, 1}, {2, 3}}},
      {"invalid stored block lengths", {{1, 1}, {2, 0}, {5, 0}, {16, 1}, {16, 1}}},
      {"too many length or distance symbols", {{1, 1}, {2, 2}, {5, 30}, {5, 0}, {4, 0}}},
      {"too many length or distance symbols", {{1, 1}, {2, 2}, {5, 0}, {5, 30}, {4, 0}}},
      {"invalid code lengths set", {{1, 1}, {2, 2}, {5, 0}, {5, 0}, {4, 0}, {3, 1}, {9, 0}}},
      {"invalid code lengths set",
       {{1, 1}, {2, 2}, {5, 0}, {5, 0}, {4, 0}, {3, 1}, {3, 1}, {3, 1}, {3, 0}}},
      {"invalid bit length repeat", repeat_first},
      {"invalid bit length repeat", Dynamic({zeros, {7, 127}, zeros, {7, 127}})},
      {"invalid code -- missing end-of-block", Dynamic({zeros, {7, 127}, zeros, {7, 109}})},
      {"invalid literal/lengths set",
       Dynamic({one, one, zeros, {7, 127}, zeros, {7, 105}, one, one})},
      {"invalid literal/lengths set", Dynamic({two, zeros, {7, 127}, zeros, {7, 106}, two, one})},
      {"invalid distances set", Dynamic({one, zeros, {7, 127}, zeros, {7, 106}, one, two})},
      {"invalid literal/length code", {{1, 1}, {2, 1}, {8, 0x63}}},  // 286 of the fixed code
      {"invalid literal/length code",
       Dynamic({zero, zeros, {7, 127}, zeros, {7, 106}, one, one, {1, 1}})},
      {"invalid distance code", {{1, 1}, {2, 1}, {7, 0x40}, {5, 0x0f}}},  // 30 of the fixed code
      {"invalid distance too far back", {{1, 1}, {2, 1}, {7, 0x40}, {5, 0}}},
  };
  for (const auto& [fault, fields] : kCases) {
    const std::string input = Pack(fields);
    Run(input);
    auto inflate = std::make_unique<cais::Inflate>();
    char output[300];
    const auto step = inflate->Run(reinterpret_cast<const uint8_t*>(input.data()), input.size(),
                                   reinterpret_cast<uint8_t*>(output), sizeof output);
    if (step.fault == nullptr || std::string_view(step.fault) != fault) {
      std::fprintf(stderr, "expected %s, got %s\n", fault, step.fault ? step.fault : "none");
      std::abort();
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  RequireFaults();
  Random random(std::strtoull(argv[2], nullptr, 10));
  const uint64_t iterations = std::strtoull(argv[1], nullptr, 10);
  for (uint64_t runs = 0; runs < iterations;) {
    const std::string stream = Deflated(random, MakeData(random), random() % 5 == 0);
    Run(stream);
    for (int i = 0; i < 20 && runs < iterations; ++i, ++runs) {
      std::string mutated = stream;
      for (size_t mutations = 1 + random() % 3; mutations > 0; --mutations)
        Mutate(mutated, random, 100);
      Run(mutated);
    }
  }
  std::printf("%llu runs\n", static_cast<unsigned long long>(iterations));
  return 0;
}
