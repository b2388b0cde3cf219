#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "kernel/result.h"
#include "kernel/unique_fd.h"
#include "layer/disk_reserve.h"
#include "layer/preallocation.h"

namespace cais {

// Counts the bytes of a blob as they come and writes them to a file, if asked to.
class BlobWriter {
 public:
  explicit BlobWriter(std::optional<uint64_t> expected_bytes) : expected_bytes_(expected_bytes) {}

  // Creates `blob` in the directory `directory_fd` (borrowed). It must not exist.
  Status CreateFile(int directory_fd, uint64_t reserve_bytes);
  // Counts bytes that are to be written: SIZE_MISMATCH as soon as there are more than expected.
  Status Count(size_t bytes);
  // Bytes that have been counted.
  Status Write(std::string_view bytes);
  // Compares the size: SIZE_MISMATCH.
  Status Finish();
  uint64_t size_bytes() const { return size_bytes_; }

 private:
  std::optional<uint64_t> expected_bytes_;
  uint64_t size_bytes_ = 0;
  UniqueFd fd_;
  std::optional<DiskReserve> reserve_;
  std::optional<Preallocation> allocation_;
};

}  // namespace cais
