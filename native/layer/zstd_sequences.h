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

  // How a state of one of the codes goes on: its value is `base` and some bits, the next state
  // `next` and so many further bits.
  struct State {
    uint16_t next;
    uint8_t next_bits;
    uint32_t base;
  };
  // The states of a code. What the place of the next bits follows from, and with it the next
  // state, stands by itself: an address is ready a step earlier in an array of bytes.
  template <unsigned kMaxLog>
  struct Table {
    State states[1 << kMaxLog];
    // How many bits the value has, and how many it and the next state have together; for rare
    // values kRareBits or more.
    uint8_t value_bits[1 << kMaxLog];
    uint8_t all_bits[1 << kMaxLog];
    unsigned log = 0;
  };
  // More than there ever are in a word.
  static constexpr uint8_t kRareBits = 64;
  struct Tables {
    Table<9> literals;
    Table<9> matches;
    Table<8> distances;
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
