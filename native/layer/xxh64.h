#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cais {

// XXH64 with the seed 0, of which Zstandard frames hold the lower half
// (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md).
class Xxh64 {
 public:
  void Update(std::string_view bytes);
  uint64_t Finish() const;

 private:
  static constexpr uint64_t kPrimes[5] = {0x9e3779b185ebca87, 0xc2b2ae3d27d4eb4f,
                                          0x165667b19e3779f9, 0x85ebca77c2b2ae63,
                                          0x27d4eb2f165667c5};
  static constexpr size_t kStripeBytes = 32;

  static uint64_t Round(uint64_t lane, uint64_t word);
  void Stripe(const uint8_t* bytes);

  uint64_t lanes_[4] = {kPrimes[0] + kPrimes[1], kPrimes[1], 0, 0 - kPrimes[0]};
  uint64_t total_bytes_ = 0;
  uint8_t rest_[kStripeBytes];
  size_t rest_bytes_ = 0;
};

}  // namespace cais
