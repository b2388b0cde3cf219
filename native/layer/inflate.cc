#include "layer/inflate.h"

#include <algorithm>
#include <cstring>

namespace cais {
namespace {

// The order in which a dynamic block gives the lengths of its code lengths' codes: the usual ones
// first, as the rest may be left out (RFC 1951, 3.2.7).
constexpr uint8_t kCodeLengthOrder[kCodeLengthSymbols] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                                          11, 4,  12, 3, 13, 2, 14, 1, 15};
constexpr size_t kEndOfBlockSymbol = 256;

constexpr const char* kInvalidLitlen = "invalid literal/length code";
constexpr const char* kInvalidDistance = "invalid distance code";
constexpr const char* kTooFarBack = "invalid distance too far back";

unsigned Bits(InflateEntry entry) { return entry & 0x3f; }

uint32_t Value(InflateEntry entry, uint64_t bits) {
  const uint64_t with_code = bits & ((uint64_t{1} << Bits(entry)) - 1);
  return (entry >> 16) + static_cast<uint32_t>(with_code >> ((entry >> 8) & 0xff));
}

bool IsLink(InflateEntry entry) {
  return (entry & (kInflateLiteral | kInflateSpecial)) == kInflateSpecial &&
         (entry & kInflateStop) == 0;
}

// An entry and how many bits lead to it.
struct Found {
  InflateEntry entry;
  unsigned before;  // bits of the root table, where the entry is one of a sub-table
};

Found Find(const InflateEntry* table, int root_bits, uint64_t bits) {
  const InflateEntry entry = table[bits & ((1U << root_bits) - 1)];
  if (!IsLink(entry)) return {entry, 0};
  const uint64_t rest = bits >> Bits(entry);
  const uint32_t mask = (1U << ((entry >> 8) & 0xff)) - 1;
  return {table[(entry >> 16) + (rest & mask)], Bits(entry)};
}

}  // namespace

// The rule by which all of this can stop anywhere: nothing is dropped from the bit buffer before
// all bits of an item (a field, a code with its extra bits, a match) are there, which are 48 at
// most. So what waits in the buffer when the input is used up is less than an item, and the bytes
// behind an item always come from the present input, which can have them back.

Inflate::Step Inflate::Run(const uint8_t* input, size_t input_bytes, uint8_t* output,
                           size_t output_bytes) {
  InflateCursor cursor{input, input, input + input_bytes, output, output, output + output_bytes,
                       bits_, count_};
  Flow flow = place_ == Place::kEnd ? Flow::kStop : Flow::kOn;
  if (fault_ != nullptr) flow = Flow::kFault;
  while (flow == Flow::kOn) flow = Advance(cursor);
  bits_ = cursor.bits & ((uint64_t{1} << cursor.count) - 1);
  count_ = cursor.count;
  const auto produced = static_cast<size_t>(cursor.out - output);
  Remember(output, produced);
  return {static_cast<size_t>(cursor.in - input), produced,
          fault_ == nullptr && place_ == Place::kEnd, fault_};
}

void Inflate::Reset() {
  place_ = Place::kBlockHeader;
  fault_ = nullptr;
  bits_ = 0;
  count_ = 0;
  history_.next = 0;
  history_.length = 0;
}

Inflate::Flow Inflate::Advance(InflateCursor& cursor) {
  switch (place_) {
    case Place::kBlockHeader:
      return BlockHeader(cursor);
    case Place::kStoredHeader:
      return StoredHeader(cursor);
    case Place::kStored:
      return Stored(cursor);
    case Place::kDynamicHeader:
      return DynamicHeader(cursor);
    case Place::kCodeLengthLengths:
      return CodeLengthLengths(cursor);
    case Place::kCodeLengths:
      return CodeLengths(cursor);
    case Place::kCodes:
      return Codes(cursor);
    case Place::kMatch:
      return Match(cursor);
    case Place::kEnd:
      break;
  }
  // The last byte of the stream is over, whatever else its bits are.
  cursor.Drop(cursor.count % 8);
  cursor.GiveBack();
  return Flow::kStop;
}

Inflate::Flow Inflate::Fault(const char* reason) {
  fault_ = reason;
  return Flow::kFault;
}

Inflate::Flow Inflate::EndBlock() {
  place_ = last_block_ ? Place::kEnd : Place::kBlockHeader;
  return Flow::kOn;
}

Inflate::Flow Inflate::BlockHeader(InflateCursor& cursor) {
  cursor.Refill();
  if (cursor.count < 3) return Flow::kStop;
  last_block_ = cursor.Peek(1) != 0;
  const uint32_t type = cursor.Peek(3) >> 1;
  cursor.Drop(3);
  switch (type) {
    case 0:
      // Begins at a byte.
      cursor.Drop(cursor.count % 8);
      place_ = Place::kStoredHeader;
      return Flow::kOn;
    case 1:
      tables_ = &FixedInflateTables();
      place_ = Place::kCodes;
      return Flow::kOn;
    case 2:
      place_ = Place::kDynamicHeader;
      return Flow::kOn;
    default:
      return Fault("invalid block type");
  }
}

Inflate::Flow Inflate::StoredHeader(InflateCursor& cursor) {
  cursor.Refill();
  if (cursor.count < 32) return Flow::kStop;
  const uint32_t field = cursor.Peek(32);
  if ((field & 0xffff) != (~field >> 16)) return Fault("invalid stored block lengths");
  cursor.Drop(32);
  cursor.GiveBack();
  length_ = field & 0xffff;
  place_ = Place::kStored;
  return Flow::kOn;
}

Inflate::Flow Inflate::Stored(InflateCursor& cursor) {
  const size_t run = std::min({length_, static_cast<size_t>(cursor.in_end - cursor.in),
                               static_cast<size_t>(cursor.out_end - cursor.out)});
  if (run > 0) std::memcpy(cursor.out, cursor.in, run);
  cursor.in += run;
  cursor.out += run;
  length_ -= run;
  return length_ == 0 ? EndBlock() : Flow::kStop;
}

Inflate::Flow Inflate::DynamicHeader(InflateCursor& cursor) {
  cursor.Refill();
  if (cursor.count < 14) return Flow::kStop;
  const uint32_t field = cursor.Peek(14);
  cursor.Drop(14);
  litlen_symbols_ = (field & 0x1f) + 257;
  distance_symbols_ = (field >> 5 & 0x1f) + 1;
  code_length_symbols_ = (field >> 10) + 4;
  if (litlen_symbols_ > 286 || distance_symbols_ > 30) {
    return Fault("too many length or distance symbols");
  }
  std::fill(lengths_, lengths_ + kCodeLengthSymbols, 0);
  lengths_read_ = 0;
  place_ = Place::kCodeLengthLengths;
  return Flow::kOn;
}

Inflate::Flow Inflate::CodeLengthLengths(InflateCursor& cursor) {
  while (lengths_read_ < code_length_symbols_) {
    cursor.Refill();
    if (cursor.count < 3) return Flow::kStop;
    for (; lengths_read_ < code_length_symbols_ && cursor.count >= 3; ++lengths_read_) {
      lengths_[kCodeLengthOrder[lengths_read_]] = static_cast<uint8_t>(cursor.Peek(3));
      cursor.Drop(3);
    }
  }
  if (!BuildCodeLengthTable(lengths_, code_lengths_)) return Fault("invalid code lengths set");
  lengths_read_ = 0;
  place_ = Place::kCodeLengths;
  return Flow::kOn;
}

Inflate::Flow Inflate::CodeLengths(InflateCursor& cursor) {
  const size_t symbols = litlen_symbols_ + distance_symbols_;
  while (lengths_read_ < symbols) {
    // A code and the bits of its repetition are 14 at most.
    if (cursor.count < 14) cursor.Refill();
    const InflateEntry entry = code_lengths_[cursor.Peek(kCodeLengthBits)];
    const uint32_t symbol = entry >> 16;
    if (symbol < 16) {
      if (cursor.count < Bits(entry)) return Flow::kStop;
      cursor.Drop(Bits(entry));
      lengths_[lengths_read_++] = static_cast<uint8_t>(symbol);
      continue;
    }
    const unsigned extra_bits = symbol == 16 ? 2 : symbol == 17 ? 3 : 7;
    if (cursor.count < Bits(entry) + extra_bits) return Flow::kStop;
    cursor.Drop(Bits(entry));
    const size_t repeat = (symbol == 18 ? 11 : 3) + cursor.Peek(extra_bits);
    cursor.Drop(extra_bits);
    uint8_t length = 0;
    if (symbol == 16) {
      if (lengths_read_ == 0) return Fault("invalid bit length repeat");
      length = lengths_[lengths_read_ - 1];
    }
    if (repeat > symbols - lengths_read_) return Fault("invalid bit length repeat");
    std::memset(lengths_ + lengths_read_, length, repeat);
    lengths_read_ += repeat;
  }
  if (lengths_[kEndOfBlockSymbol] == 0) return Fault("invalid code -- missing end-of-block");
  if (!BuildLitlenTable(lengths_, litlen_symbols_, dynamic_tables_)) {
    return Fault("invalid literal/lengths set");
  }
  if (!BuildDistanceTable(lengths_ + litlen_symbols_, distance_symbols_, dynamic_tables_)) {
    return Fault("invalid distances set");
  }
  tables_ = &dynamic_tables_;
  place_ = Place::kCodes;
  return Flow::kOn;
}

Inflate::Flow Inflate::Codes(InflateCursor& cursor) {
  for (;;) {
    if (cursor.in_end - cursor.in >= kFastInBytes && cursor.out_end - cursor.out >= kFastOutBytes) {
      switch (InflateFast(*tables_, history_, cursor)) {
        case InflateStop::kEdge:
          break;
        case InflateStop::kEndOfBlock:
          return EndBlock();
        case InflateStop::kInvalidLitlen:
          return Fault(kInvalidLitlen);
        case InflateStop::kInvalidDistance:
          return Fault(kInvalidDistance);
        case InflateStop::kTooFarBack:
          return Fault(kTooFarBack);
      }
    }
    const Flow flow = Symbol(cursor);
    if (flow != Flow::kOn || place_ != Place::kCodes) return flow;
  }
}

Inflate::Flow Inflate::Symbol(InflateCursor& cursor) {
  cursor.Refill();
  const auto [entry, before] = Find(tables_->litlen, kLitlenBits, cursor.bits);
  if ((entry & kInflateLiteral) != 0) {
    const unsigned bits = before + Bits(entry);
    if (bits > cursor.count) return Flow::kStop;
    if (cursor.out == cursor.out_end) {
      cursor.GiveBack();
      return Flow::kStop;
    }
    cursor.Drop(bits);
    *cursor.out++ = static_cast<uint8_t>(entry >> 16);
    return Flow::kOn;
  }
  const unsigned length_bits = before + Bits(entry);
  if (length_bits > cursor.count) return Flow::kStop;
  if ((entry & kInflateSpecial) != 0) {
    if ((entry & kInflateEndOfBlock) == 0) return Fault(kInvalidLitlen);
    cursor.Drop(length_bits);
    return EndBlock();
  }
  const uint64_t after_length = cursor.bits >> length_bits;
  const auto [far, far_before] = Find(tables_->distance, kDistanceBits, after_length);
  const unsigned all_bits = length_bits + far_before + Bits(far);
  if (all_bits > cursor.count) return Flow::kStop;
  if ((far & kInflateSpecial) != 0) return Fault(kInvalidDistance);
  length_ = Value(entry, cursor.bits >> before);
  distance_ = Value(far, after_length >> far_before);
  cursor.Drop(all_bits);
  if (distance_ > static_cast<size_t>(cursor.out - cursor.out_begin) + history_.length) {
    return Fault(kTooFarBack);
  }
  place_ = Place::kMatch;
  return Flow::kOn;
}

Inflate::Flow Inflate::Match(InflateCursor& cursor) {
  const size_t run = std::min(length_, static_cast<size_t>(cursor.out_end - cursor.out));
  CopyMatch(cursor, history_, distance_, run);
  length_ -= run;
  if (length_ > 0) {
    cursor.GiveBack();
    return Flow::kStop;
  }
  place_ = Place::kCodes;
  return Flow::kOn;
}

void Inflate::Remember(const uint8_t* output, size_t bytes) {
  if (bytes > kInflateWindowBytes) {
    output += bytes - kInflateWindowBytes;
    bytes = kInflateWindowBytes;
  }
  history_.length = std::min(history_.length + bytes, kInflateWindowBytes);
  while (bytes > 0) {
    const size_t run = std::min(bytes, kInflateWindowBytes - history_.next);
    std::memcpy(history_.bytes + history_.next, output, run);
    history_.next = (history_.next + run) % kInflateWindowBytes;
    output += run;
    bytes -= run;
  }
}

}  // namespace cais
