// Drives a libFuzzer target without libFuzzer: runs it on each seed file, then on mutations of
// them.
//   PROGRAM ITERATIONS RANDOM_SEED FILE…
// The input of a run is written to $CRASH_FILE, if set, before the run, so that a crash leaves it
// behind.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Random = std::mt19937_64;

size_t Below(Random& random, size_t bound) { return bound == 0 ? 0 : random() % bound; }

// Values at which parsers of numbers and lengths turn.
const char* const kTokens[] = {
    "0", "1",     "-1",    "7777777",     "77777777777", "\x80",     "\xff\xff",  "\n",
    "=", "path=", "size=", "GNU.sparse.", "1000000000",  "99999999", "4294967295"};

void Mutate(std::string& input, const std::vector<std::string>& seeds, Random& random) {
  const size_t at = Below(random, input.size() + 1);
  switch (random() % 9) {
    case 0:
      if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << random() % 8));
      break;
    case 1:
      if (at < input.size()) input[at] = static_cast<char>(random());
      break;
    case 2: {
      const std::string token = kTokens[random() % std::size(kTokens)];
      input.replace(at, std::min(token.size(), input.size() - at), token);
      break;
    }
    case 3:
      input.resize(at);
      break;
    case 4:
      input.erase(at, 1 + Below(random, 64));
      break;
    case 5:
      input.insert(at, Below(random, 64), static_cast<char>(random()));
      break;
    case 6: {
      // Whole blocks, so that headers stay headers.
      const size_t from = Below(random, input.size() / 512 + 1) * 512;
      const std::string block = input.substr(from, 512);
      input.insert(std::min(input.size(), at / 512 * 512), block);
      break;
    }
    case 7: {
      const std::string& other = seeds[random() % seeds.size()];
      input =
          input.substr(0, at / 512 * 512) + other.substr(std::min(other.size(), at / 512 * 512));
      break;
    }
    default: {
      // Fields of tar headers: sizes, types, the sparse map.
      constexpr size_t kOffsets[] = {0, 100, 124, 136, 156, 157, 257, 329, 345, 386, 482, 483};
      const size_t field = at / 512 * 512 + kOffsets[random() % std::size(kOffsets)];
      if (field < input.size())
        input[field] = static_cast<char>("013567LKxgSVM\0\x80\xff"[random() % 16]);
    }
  }
}

void Run(const std::string& input) {
  if (const char* path = std::getenv("CRASH_FILE")) {
    std::ofstream(path, std::ios::binary) << input;
  }
  // Exactly as long as the input, on the heap: reads beyond it are seen.
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  (void)LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  std::vector<std::string> seeds;
  for (int i = 3; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    Run(seeds.back());
  }
  Random random(std::strtoull(argv[2], nullptr, 10));
  const uint64_t iterations = std::strtoull(argv[1], nullptr, 10);
  for (uint64_t i = 0; i < iterations; ++i) {
    std::string input = seeds[random() % seeds.size()];
    for (size_t mutations = 1 + random() % 6; mutations > 0; --mutations) {
      Mutate(input, seeds, random);
    }
    Run(input);
  }
  std::printf("%llu runs\n", static_cast<unsigned long long>(iterations + seeds.size()));
  return 0;
}
