#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

// What drivers of decoders have in common, which make streams and mutate those.

using Random = std::mt19937_64;

inline size_t Below(Random& random, size_t bound) { return random() % bound; }

// The input is written to $CRASH_FILE, if set, before the run.
inline void Run(const std::string& input) {
  if (const char* path = std::getenv("CRASH_FILE")) std::ofstream(path, std::ios::binary) << input;
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  (void)LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

inline std::string RandomBytes(Random& random, size_t length, unsigned values) {
  std::string made(length, 0);
  for (char& byte : made) byte = static_cast<char>(Below(random, values));
  return made;
}

// Half of the mutations are in the first `head_bytes` bytes, where headers of blocks mostly are.
inline void Mutate(std::string& input, Random& random, size_t head_bytes) {
  if (input.empty()) return;
  const size_t at = Below(random, random() % 2 ? std::min(input.size(), head_bytes) : input.size());
  switch (random() % 6) {
    case 0:
    case 1:
    case 2:
      input[at] = static_cast<char>(input[at] ^ (1 << random() % 8));
      break;
    case 3:
      input[at] = static_cast<char>(random());
      break;
    case 4:
      input.resize(at);
      break;
    default:
      input.erase(at, 1 + Below(random, 8));
  }
}
