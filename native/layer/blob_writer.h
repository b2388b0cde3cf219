#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kernel/result.h"
#include "kernel/unique_fd.h"
#include "layer/disk_reserve.h"
#include "layer/preallocation.h"
#include "layer/sha256.h"

namespace cais {

// What is known of a blob before its bytes come.
struct BlobExpectation {
  std::optional<std::string> digest;  // "sha256:<hex>"
  std::optional<uint64_t> size_bytes;
};

struct BlobSummary {
  std::string digest;
  uint64_t size_bytes;
};

// Hashes and counts the bytes of a blob as they come and writes them to a file, if asked to.
class BlobWriter {
 public:
  explicit BlobWriter(BlobExpectation expected) : expected_(std::move(expected)) {}

  // Creates `blob` in the directory `directory_fd` (borrowed). It must not exist.
  Status CreateFile(int directory_fd, uint64_t reserve_bytes);
  // Counts bytes that are to be written: SIZE_MISMATCH as soon as there are more than expected.
  Status Count(size_t bytes);
  // Bytes that have been counted.
  Status Write(std::string_view bytes);
  // Compares size and digest: SIZE_MISMATCH, DIGEST_MISMATCH.
  Result<BlobSummary> Finish();

 private:
  BlobExpectation expected_;
  Sha256 sha256_;
  uint64_t size_bytes_ = 0;
  UniqueFd fd_;
  std::optional<DiskReserve> reserve_;
  std::optional<Preallocation> allocation_;
};

}  // namespace cais
