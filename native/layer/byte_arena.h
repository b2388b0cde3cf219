#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

namespace cais {

// Keeps bytes until it is destroyed: names, link targets and xattrs of a layer, millions of short
// strings without an allocation and a header for each.
class ByteArena {
 public:
  // A copy of `bytes` that stays where it is, at a multiple of `alignment` (at most 16).
  char* Keep(std::string_view bytes, size_t alignment = 1) {
    char* place = Reserve(bytes.size(), alignment);
    if (!bytes.empty()) std::memcpy(place, bytes.data(), bytes.size());
    return place;
  }

  size_t kept_bytes() const { return kept_bytes_; }

 private:
  static constexpr size_t kChunkBytes = 256 * 1024;

  char* Reserve(size_t size, size_t alignment) {
    kept_bytes_ += size;
    // A long string gets a chunk of its own, so that no chunk is given up half empty.
    if (size > kChunkBytes / 8) {
      large_.push_back(std::make_unique_for_overwrite<char[]>(size));
      return large_.back().get();
    }
    size_t start = (used_ + alignment - 1) / alignment * alignment;
    if (chunks_.empty() || start + size > kChunkBytes) {
      chunks_.push_back(std::make_unique_for_overwrite<char[]>(kChunkBytes));
      start = 0;
    }
    used_ = start + size;
    return chunks_.back().get() + start;
  }

  std::vector<std::unique_ptr<char[]>> chunks_;
  std::vector<std::unique_ptr<char[]>> large_;
  size_t used_ = 0;
  size_t kept_bytes_ = 0;
};

}  // namespace cais
