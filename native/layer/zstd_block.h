#pragma once

#include <cstddef>
#include <string_view>

#include "layer/zstd_batch.h"
#include "layer/zstd_huffman.h"
#include "layer/zstd_sequences.h"

namespace cais {

// Decodes blocks of Zstandard frames (RFC 8878, section 3.1.1.3) into literals and sequences: all
// that does not need the output before them.
class ZstdBlocks {
 public:
  // A frame begins, with blocks of at most so many bytes of output.
  void Begin(size_t block_bytes);
  // Adds a block to `batch`, which has room. Returns what is wrong with it, or null.
  const char* Add(std::string_view block, ZstdBatch& batch);

 private:
  const char* ReadLiterals(std::string_view& block, uint8_t* to, size_t& bytes);

  size_t block_bytes_ = 0;
  ZstdHuffman huffman_;
  bool has_huffman_ = false;  // of this frame
  ZstdSequences sequences_;
};

}  // namespace cais
