#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "layer/little_endian.h"

namespace cais {

// Bits from the end of some bytes to their beginning, each byte's highest first; the last byte
// marks with its highest one-bit where they begin (RFC 8878, section 4.1). Never reads outside the
// bytes: whoever takes more than there is gets something, and `is_overrun`.
class BackwardBits {
 public:
  // False: no bytes, or no mark.
  bool Begin(std::string_view bytes) {
    if (bytes.empty() || bytes.back() == 0) return false;
    begin_ = reinterpret_cast<const uint8_t*>(bytes.data());
    unsigned missing = 0;
    if (bytes.size() >= sizeof word_) {
      at_ = begin_ + bytes.size() - sizeof word_;
      word_ = LoadLittle64(at_);
    } else {
      at_ = begin_;
      missing = 8 * static_cast<unsigned>(sizeof word_ - bytes.size());
      word_ = 0;
      for (const char byte : bytes) {
        word_ = word_ >> 8 | uint64_t{static_cast<unsigned char>(byte)} << 56;
      }
    }
    left_ = 63 - std::countl_zero(word_);
    floor_ = static_cast<int>(missing);
    return true;
  }

  // At least 56 bits may be taken after it, or all that there are.
  void Refill() {
    if (before() >= sizeof word_) return RefillSurely();
    if (left_ >= 56 || at_ == begin_) return;
    const size_t bytes = std::min(static_cast<size_t>(63 - left_) / 8, before());
    at_ -= bytes;
    left_ += static_cast<int>(8 * bytes);
    word_ = LoadLittle64(at_);
  }
  // The same, when eight bytes or more are `before()`.
  void RefillSurely() {
    at_ -= (static_cast<unsigned>(left_) ^ 63) / 8;
    left_ |= 56;
    word_ = LoadLittle64(at_);
  }
  // How many bytes are not in the word yet.
  size_t before() const { return static_cast<size_t>(at_ - begin_); }

  // Up to 56 bits.
  uint64_t Take(unsigned count) {
    left_ -= static_cast<int>(count);
    return Get(left_, count);
  }
  // The next `count` bits without taking them; zeros behind the last one.
  uint64_t Peek(unsigned count) const {
    const int below = left_ - static_cast<int>(count);
    const uint64_t bits = below >= 0 ? word_ >> (below & 63) : word_ << (-below & 63);
    return bits & ((uint64_t{1} << count) - 1);
  }
  void Skip(unsigned count) { left_ -= static_cast<int>(count); }

  // For whoever knows the places of several numbers in the word at once: how many bits are left in
  // it, the lowest `count` of what is left above `from`, and going on there.
  int left() const { return left_; }
  uint64_t Get(int from, unsigned count) const {
    return (word_ >> (from & 63)) & ((uint64_t{1} << count) - 1);
  }
  void SkipTo(int left) { left_ = left; }

  bool is_overrun() const { return left_ < floor_; }
  // All bits were taken, and not one more.
  bool is_at_end() const { return at_ == begin_ && left_ == floor_; }

  // For loops that keep words of several streams in registers, with the next bit on top. A word
  // begins with so many bits of it taken; its lowest bit is a mark that tells how many, as long as
  // they are no more than 55 after LoadTop.
  struct Top {
    uint64_t word;
    const uint8_t* at;
  };
  Top GetTop() const { return {(word_ | 1) << (64 - left_), at_}; }
  static void LoadTop(Top& top) {
    const auto used = static_cast<unsigned>(std::countr_zero(top.word));
    top.at -= used / 8;
    top.word = (LoadLittle64(top.at) | 1) << (used % 8);
  }
  void SetTop(const Top& top) {
    at_ = top.at;
    word_ = LoadLittle64(at_);
    left_ = 64 - std::countr_zero(top.word);
  }
  // How often LoadTop may be called.
  size_t loads() const { return static_cast<size_t>(at_ - begin_) / 7; }

 private:
  const uint8_t* begin_ = nullptr;
  const uint8_t* at_ = nullptr;  // where `word_` is from
  uint64_t word_ = 0;
  // The lowest bits of the word that were not taken yet, and where they end: above zero when the
  // bytes do not fill the word.
  int left_ = 0;
  int floor_ = 0;
};

}  // namespace cais
