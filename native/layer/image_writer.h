#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "kernel/result.h"
#include "layer/disk_reserve.h"
#include "layer/preallocation.h"
#include "layer/sha256.h"

namespace cais {

// Writes a file from its start to its end: small things through a buffer of 256 KiB, what is larger
// straight from where it lies.
class ImageWriter {
 public:
  // `fd` is borrowed: an empty file open for reading and writing.
  ImageWriter(int fd, uint64_t reserve_bytes);

  Status Append(std::string_view bytes);
  Status AppendZeros(uint64_t size);
  Status PadTo(uint64_t multiple) {
    return AppendZeros((multiple - position_ % multiple) % multiple);
  }
  // Copies `size` bytes that were appended earlier, starting at `offset`, to the end.
  Status AppendCopy(uint64_t offset, uint64_t size);
  Status Flush();
  // From here on, what is appended goes to a checksum too, until TakeChecksum().
  Status StartChecksum();
  // Of what was appended and flushed since.
  Sha256 TakeChecksum() { return std::move(*std::exchange(checksum_, std::nullopt)); }
  // Writes over bytes that were appended and flushed earlier.
  Status Overwrite(uint64_t offset, std::string_view bytes);

  // Everything is appended and flushed: gives back blocks that were allocated ahead.
  void Trim() { allocation_.Trim(position_); }

  // Bytes appended so far.
  uint64_t position() const { return position_; }

 private:
  static constexpr size_t kBufferBytes = 256 << 10;
  static constexpr size_t kDirectBytes = 64 << 10;

  Status AppendDirectly(std::string_view bytes);
  Status Write(std::string_view bytes, uint64_t offset);

  int fd_;
  DiskReserve reserve_;
  Preallocation allocation_;
  std::unique_ptr<char[]> buffer_;
  size_t buffered_ = 0;
  uint64_t position_ = 0;
  std::optional<Sha256> checksum_;
};

}  // namespace cais
