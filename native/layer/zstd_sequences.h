#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "layer/zstd_fse.h"

namespace cais {

// A step of a block: so many literals, then a match of `match` bytes, `distance` bytes back.
// Longer steps are given as several.
struct ZstdSequence {
  uint32_t distance;
  uint16_t literals;
  uint16_t match;
};

// How many more sequences may come out than a block says it has.
inline constexpr size_t kZstdSequenceRoom = 8;

// What the sequences of a block are encoded with, and what is kept from block to block (RFC 8878,
// section 3.1.1.3.2).
class ZstdSequences {
 public:
  // A frame begins.
  void Reset();
  // Reads how the three codes are described from the front of `input`, and takes it off. Returns
  // what is wrong, or null.
  const char* ReadTables(std::string_view& input);
  // Decodes `count` sequences, at least one, from all of `input`. `to` has room for
  // kZstdSequenceRoom more; `produced` says how many there are. Returns what is wrong, or null.
  const char* Decode(std::string_view input, size_t count, ZstdSequence* to, size_t& produced);

  // A state of one of the codes: how many bits its value adds to `base`, and the next state.
  struct State {
    uint16_t next;
    uint8_t bits;  // of the value
    uint8_t next_bits;
    uint32_t base;
  };
  struct Tables {
    State literals[1 << 9];
    State matches[1 << 9];
    State distances[1 << 8];
    unsigned literals_log = 0;
    unsigned matches_log = 0;
    unsigned distances_log = 0;
  };
  // The distances that were used last.
  struct Recent {
    uint32_t distances[3];
  };

 private:
  Tables tables_;
  // Which tables may be used again.
  bool has_literals_ = false;
  bool has_matches_ = false;
  bool has_distances_ = false;
  Recent recent_{};
};

}  // namespace cais
