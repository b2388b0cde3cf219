// Compares SHA-256 by our blocks with OpenSSL's: random messages in random parts, alone and two at
// once.
//   sha256_check SEED ROUNDS
// Prints "no instructions" where the processor lacks them; ends with 1 at the first difference.

#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>

#include "layer/sha256.h"

namespace {

using cais::Sha256;

std::mt19937_64 random_bits;

size_t Below(size_t bound) { return random_bits() % bound; }

// Most around the ends of blocks, some of many blocks.
std::string RandomMessage() {
  std::string message(Below(8) == 0 ? Below(100'000) : Below(400), '\0');
  for (char& byte : message) byte = static_cast<char>(random_bits());
  return message;
}

// At an address of its own, so that a read beyond the part is noticed.
std::string TakePart(std::string_view& rest) {
  const size_t size = Below(4) == 0 ? rest.size() : Below(rest.size() + 1);
  std::string part(rest.substr(0, size));
  rest.remove_prefix(size);
  return part;
}

std::string ByOpenssl(std::string_view message) {
  Sha256 digest(Sha256::By::kOpenssl);
  digest.Update(message);
  return digest.Finish();
}

bool Same(std::string_view what, std::string_view message, Sha256& digest) {
  if (digest.Finish() == ByOpenssl(message)) return true;
  std::printf("%.*s: another digest of %zu bytes\n", static_cast<int>(what.size()), what.data(),
              message.size());
  return false;
}

bool Round(Sha256::By second_by) {
  const std::string messages[] = {RandomMessage(), RandomMessage()};
  std::string_view first_rest = messages[0];
  std::string_view second_rest = messages[1];
  Sha256 first;
  Sha256 second(second_by);
  while (!first_rest.empty() || !second_rest.empty()) {
    switch (Below(4)) {
      case 0:
        first.Update(TakePart(first_rest));
        break;
      case 1:
        second.Update(TakePart(second_rest));
        break;
      default: {
        const std::string first_part = TakePart(first_rest);
        const std::string second_part = TakePart(second_rest);
        Sha256::UpdateBoth(first, first_part, second, second_part);
      }
    }
  }
  return Same("first", messages[0], first) && Same("second", messages[1], second);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  if (!cais::HasSha256Blocks()) return std::puts("no instructions"), 0;
  random_bits.seed(std::strtoull(argv[1], nullptr, 10));
  const unsigned long rounds = std::strtoul(argv[2], nullptr, 10);
  for (unsigned long i = 0; i < rounds; ++i) {
    if (!Round(i % 16 == 0 ? Sha256::By::kOpenssl : Sha256::By::kFastest)) return 1;
  }
  Sha256 abc;
  abc.Update(std::string_view());
  abc.Update("abc");
  abc.Update(std::string_view());
  std::puts(abc.Finish().c_str());
}
