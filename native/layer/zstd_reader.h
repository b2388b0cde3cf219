#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "kernel/result.h"
#include "layer/zstd_batch.h"
#include "layer/zstd_block.h"

namespace cais {

// Whether the bytes begin a Zstandard or a skippable frame (RFC 8878, section 3.1).
bool IsZstdMagic(std::string_view first_bytes);

// The first half of Zstandard decompression: finds frames and blocks in a stream, pushed through in
// pieces of any size, and decodes them as far as that goes without the output before them.
class ZstdReader {
 public:
  // Takes input until it is used up or `batch`, which has room, is full. Returns how much it took.
  Result<size_t> Run(std::string_view input, ZstdBatch& batch);
  // Whether the input may end here.
  bool is_between_frames() const {
    return place_ == Place::kHead && staged_.empty() && frames_ > 0;
  }

 private:
  enum class Place { kHead, kSkippable, kBlockHead, kBlock, kCheckSum };

  // Until `staged_` has so many bytes. Whether it has.
  bool Stage(std::string_view& input, size_t bytes);
  // One part each. Whether it was complete.
  Result<bool> ReadHead(std::string_view& input, ZstdBatch& batch);
  bool Skip(std::string_view& input);
  Result<bool> ReadBlockHead(std::string_view& input);
  Result<bool> ReadBlock(std::string_view& input, ZstdBatch& batch);
  bool ReadCheckSum(std::string_view& input, ZstdBatch& batch);

  Status BeginFrame(ZstdBatch& batch);
  const char* AddBlock(std::string_view bytes, ZstdBatch& batch);
  Failure BadMagic() const;

  Place place_ = Place::kHead;
  std::string staged_;  // input that cannot be used before there is more
  uint64_t frames_ = 0;
  uint64_t skip_bytes_ = 0;  // of a skippable frame
  ZstdFrame frame_{};
  ZstdBlocks blocks_;

  // Of the present block: as its header says, and how many bytes it has in the stream.
  unsigned block_type_ = 0;
  size_t block_size_ = 0;
  size_t block_input_bytes_ = 0;
  bool is_last_block_ = false;
};

}  // namespace cais
