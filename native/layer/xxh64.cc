#include "layer/xxh64.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "layer/little_endian.h"

namespace cais {

uint64_t Xxh64::Round(uint64_t lane, uint64_t word) {
  return std::rotl(lane + word * kPrimes[1], 31) * kPrimes[0];
}

void Xxh64::Stripe(const uint8_t* bytes) {
  for (size_t i = 0; i < 4; ++i) lanes_[i] = Round(lanes_[i], LoadLittle64(bytes + 8 * i));
}

void Xxh64::Update(std::string_view bytes) {
  total_bytes_ += bytes.size();
  if (rest_bytes_ > 0) {
    const size_t part = std::min(bytes.size(), kStripeBytes - rest_bytes_);
    std::memcpy(rest_ + rest_bytes_, bytes.data(), part);
    rest_bytes_ += part;
    bytes.remove_prefix(part);
    if (rest_bytes_ < kStripeBytes) return;
    Stripe(rest_);
    rest_bytes_ = 0;
  }
  for (; bytes.size() >= kStripeBytes; bytes.remove_prefix(kStripeBytes)) {
    Stripe(reinterpret_cast<const uint8_t*>(bytes.data()));
  }
  rest_bytes_ = bytes.copy(reinterpret_cast<char*>(rest_), kStripeBytes);
}

uint64_t Xxh64::Finish() const {
  uint64_t sum = kPrimes[4];
  if (total_bytes_ >= kStripeBytes) {
    constexpr int kTurns[4] = {1, 7, 12, 18};
    sum = 0;
    for (size_t i = 0; i < 4; ++i) sum += std::rotl(lanes_[i], kTurns[i]);
    for (const uint64_t lane : lanes_) sum = (sum ^ Round(0, lane)) * kPrimes[0] + kPrimes[3];
  }
  sum += total_bytes_;
  size_t at = 0;
  for (; at + 8 <= rest_bytes_; at += 8) {
    sum = std::rotl(sum ^ Round(0, LoadLittle64(rest_ + at)), 27) * kPrimes[0] + kPrimes[3];
  }
  for (; at + 4 <= rest_bytes_; at += 4) {
    const uint64_t word = LoadLittle32(rest_ + at);
    sum = std::rotl(sum ^ (word * kPrimes[0]), 23) * kPrimes[1] + kPrimes[2];
  }
  for (; at < rest_bytes_; ++at) {
    sum = std::rotl(sum ^ (rest_[at] * kPrimes[4]), 11) * kPrimes[0];
  }
  sum = (sum ^ (sum >> 33)) * kPrimes[1];
  sum = (sum ^ (sum >> 29)) * kPrimes[2];
  return sum ^ (sum >> 32);
}

}  // namespace cais
