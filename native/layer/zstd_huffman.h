#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cais {

// A code: its symbol above the number of its bits.
using ZstdHuffmanEntry = uint16_t;

// The code of the literals of Zstandard blocks (RFC 8878, section 4.2).
class ZstdHuffman {
 public:
  // Reads the description of a code from the front of `input`, and takes it off. Returns what is
  // wrong with it, or null.
  const char* Read(std::string_view& input);
  // Decodes `bytes` literals from one stream, or from four with a jump table before them. False:
  // the streams are not right. Nothing outside `to` is written.
  bool DecodeOne(std::string_view stream, uint8_t* to, size_t bytes) const;
  bool DecodeFour(std::string_view streams, uint8_t* to, size_t bytes) const;

 private:
  static constexpr unsigned kMaxBits = 11;

  const char* Build(const uint8_t* weights, size_t count);

  // What is written at a time.
  static constexpr size_t kWordEntries = 16;
  // By the next `log_` bits; with slack.
  ZstdHuffmanEntry entries_[(1 << kMaxBits) + kWordEntries];
  unsigned log_ = 0;
};

}  // namespace cais
