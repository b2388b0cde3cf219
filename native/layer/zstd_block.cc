#include "layer/zstd_block.h"

#include <cstring>

#include "layer/little_endian.h"

namespace cais {
namespace {

constexpr const char* kCut = "a block ends early";
constexpr size_t kMinMatchBytes = 3;

// How many sequences there are; takes the number off `block`. False: it ends early.
bool ReadCount(std::string_view& block, size_t& count) {
  if (block.empty()) return false;
  const size_t first = static_cast<unsigned char>(block[0]);
  const size_t bytes = first < 128 ? 1 : first < 255 ? 2 : 3;
  if (block.size() < bytes) return false;
  count = first;
  if (bytes == 2) count = ((first - 128) << 8) + static_cast<unsigned char>(block[1]);
  if (bytes == 3) count = LittleNumber(block.substr(1, 2)) + 0x7f00;
  block.remove_prefix(bytes);
  return true;
}

}  // namespace

void ZstdBlocks::Begin(size_t block_bytes) {
  block_bytes_ = block_bytes;
  has_huffman_ = false;
  sequences_.Reset();
}

const char* ZstdBlocks::Add(std::string_view block, ZstdBatch& batch) {
  size_t literal_bytes = 0;
  if (const char* fault = ReadLiterals(block, batch.literals(), literal_bytes)) return fault;
  size_t count = 0;
  if (!ReadCount(block, count)) return kCut;
  if (count == 0) {
    if (!block.empty()) return "a block is followed by other data";
    batch.AddBlock(literal_bytes, 0);
    return nullptr;
  }
  if (count * kMinMatchBytes > block_bytes_) return "a block has too many sequences";
  if (const char* fault = sequences_.ReadTables(block)) return fault;
  size_t produced = 0;
  ZstdSequence* const to = batch.sequences(count + kZstdSequenceRoom);
  if (const char* fault = sequences_.Decode(block, count, to, produced)) return fault;
  batch.AddBlock(literal_bytes, produced);
  return nullptr;
}

const char* ZstdBlocks::ReadLiterals(std::string_view& block, uint8_t* to, size_t& bytes) {
  enum Kind : unsigned { kRaw, kRepeated, kCoded, kCodedAsBefore };
  if (block.empty()) return kCut;
  const auto first = static_cast<unsigned char>(block[0]);
  const unsigned kind = first & 3;
  const unsigned format = first >> 2 & 3;
  const bool is_coded = kind >= kCoded;
  // Two bits of each, and then one size or two.
  constexpr size_t kHeadBytes[2][4] = {{1, 2, 1, 3}, {3, 3, 4, 5}};
  constexpr unsigned kSizeBits[2][4] = {{5, 12, 5, 20}, {10, 10, 14, 18}};
  const size_t head_bytes = kHeadBytes[is_coded][format];
  const unsigned size_bits = kSizeBits[is_coded][format];
  if (block.size() < head_bytes) return kCut;
  uint64_t head = LittleNumber(block.substr(0, head_bytes));
  // A single bit tells the shortest format.
  head >>= size_bits == 5 ? 3 : 4;
  block.remove_prefix(head_bytes);
  bytes = head & ((uint64_t{1} << size_bits) - 1);
  if (bytes > block_bytes_) return "a block has too many literals";
  size_t taken = is_coded ? head >> size_bits : kind == kRaw ? bytes : 1;
  if (block.size() < taken) return kCut;
  std::string_view streams = block.substr(0, taken);
  block.remove_prefix(taken);
  if (kind == kRaw) {
    std::memcpy(to, streams.data(), bytes);
    return nullptr;
  }
  if (kind == kRepeated) {
    std::memset(to, streams[0], bytes);
    return nullptr;
  }
  if (kind == kCoded) {
    has_huffman_ = false;
    if (const char* fault = huffman_.Read(streams)) return fault;
    has_huffman_ = true;
  }
  if (!has_huffman_) return "a code of literals is used again that there was none of";
  const bool is_right = format == 0 ? huffman_.DecodeOne(streams, to, bytes)
                                    : huffman_.DecodeFour(streams, to, bytes);
  return is_right ? nullptr : "the literals are damaged";
}

}  // namespace cais
