#pragma once

#include <cstddef>
#include <cstdint>

#include "layer/inflate_loop.h"
#include "layer/inflate_tables.h"

namespace cais {

// Decodes one DEFLATE stream (RFC 1951), pushed through in pieces of any size. Accepts and refuses
// what zlib does.
class Inflate {
 public:
  struct Step {
    size_t consumed;
    size_t produced;
    // The stream is complete; the rest of the input is not part of it.
    bool ended;
    // Why the stream is invalid, in zlib's words; null: it is not. Output before the fault counts.
    const char* fault;
  };

  // Takes input and fills output until one is used up or the stream ends. Up to eight bytes of the
  // input that count as consumed may wait in here for the rest of a code. Once ended or at fault,
  // only Reset goes on.
  Step Run(const uint8_t* input, size_t input_bytes, uint8_t* output, size_t output_bytes);
  // Begins another stream.
  void Reset();

 private:
  enum class Place {
    kBlockHeader,
    kStoredHeader,
    kStored,
    kDynamicHeader,
    kCodeLengthLengths,
    kCodeLengths,
    kCodes,
    kMatch,
    kEnd,
  };
  // Whether decoding goes on, or why not.
  enum class Flow { kOn, kStop, kFault };

  Flow Advance(InflateCursor& cursor);
  Flow BlockHeader(InflateCursor& cursor);
  Flow StoredHeader(InflateCursor& cursor);
  Flow Stored(InflateCursor& cursor);
  Flow DynamicHeader(InflateCursor& cursor);
  Flow CodeLengthLengths(InflateCursor& cursor);
  Flow CodeLengths(InflateCursor& cursor);
  Flow Codes(InflateCursor& cursor);
  Flow Symbol(InflateCursor& cursor);
  Flow Match(InflateCursor& cursor);
  Flow Fault(const char* reason);
  Flow EndBlock();
  void Remember(const uint8_t* output, size_t bytes);

  Place place_ = Place::kBlockHeader;
  bool last_block_ = false;
  const char* fault_ = nullptr;
  uint64_t bits_ = 0;
  unsigned count_ = 0;
  // Of the stored block or the match: what is still to be copied.
  size_t length_ = 0;
  size_t distance_ = 0;
  // Of a dynamic block's header.
  size_t litlen_symbols_ = 0;
  size_t distance_symbols_ = 0;
  size_t code_length_symbols_ = 0;
  size_t lengths_read_ = 0;
  uint8_t lengths_[kLitlenSymbols + kDistanceSymbols];
  InflateEntry code_lengths_[1 << kCodeLengthBits];
  const InflateTables* tables_ = nullptr;
  InflateTables dynamic_tables_;
  InflateHistory history_;
};

}  // namespace cais
