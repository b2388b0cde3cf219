#include "layer/image_writer.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace cais {

ImageWriter::ImageWriter(int fd, uint64_t reserve_bytes)
    : fd_(fd),
      reserve_(fd, reserve_bytes),
      allocation_(fd),
      buffer_(std::make_unique_for_overwrite<char[]>(kBufferBytes)) {}

Status ImageWriter::Write(std::string_view bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      return Errno("pwrite", "layer");
    }
    bytes.remove_prefix(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return Done{};
}

Status ImageWriter::Append(std::string_view bytes) {
  if (bytes.size() >= kDirectBytes) {
    if (const Status flushed = Flush(); !flushed.ok()) return flushed;
    return AppendDirectly(bytes);
  }
  while (!bytes.empty()) {
    const size_t taken = std::min(bytes.size(), kBufferBytes - buffered_);
    position_ += taken;
    std::memcpy(buffer_.get() + buffered_, bytes.data(), taken);
    buffered_ += taken;
    bytes.remove_prefix(taken);
    if (buffered_ == kBufferBytes) {
      const Status flushed = Flush();
      if (!flushed.ok()) return flushed;
    }
  }
  return Done{};
}

Status ImageWriter::AppendZeros(uint64_t size) {
  static constexpr std::array<char, 4096> kZeros{};
  while (size > 0) {
    const size_t taken = std::min<uint64_t>(size, kZeros.size());
    const Status appended = Append({kZeros.data(), taken});
    if (!appended.ok()) return appended;
    size -= taken;
  }
  return Done{};
}

Status ImageWriter::AppendCopy(uint64_t offset, uint64_t size) {
  const Status flushed = Flush();
  if (!flushed.ok()) return flushed;
  std::array<char, 16384> piece;
  while (size > 0) {
    const size_t wanted = std::min<uint64_t>(size, piece.size());
    const ssize_t got = ::pread(fd_, piece.data(), wanted, static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) continue;
      return Errno("pread", "layer");
    }
    if (got == 0) return Failure{EIO, "pread", "layer", {}};
    const Status appended = Append({piece.data(), static_cast<size_t>(got)});
    if (!appended.ok()) return appended;
    offset += static_cast<uint64_t>(got);
    size -= static_cast<uint64_t>(got);
  }
  return Done{};
}

Status ImageWriter::Flush() {
  if (buffered_ == 0) return Done{};
  position_ -= buffered_;
  return AppendDirectly({buffer_.get(), std::exchange(buffered_, 0)});
}

Status ImageWriter::AppendDirectly(std::string_view bytes) {
  if (const Status reserved = reserve_.Take(bytes.size()); !reserved.ok()) return reserved;
  if (checksum_) checksum_->Update(bytes);
  position_ += bytes.size();
  allocation_.Cover(position_);
  return Write(bytes, position_ - bytes.size());
}

Status ImageWriter::StartChecksum() {
  const Status flushed = Flush();
  checksum_.emplace();
  return flushed;
}

Status ImageWriter::Overwrite(uint64_t offset, std::string_view bytes) {
  return Write(bytes, offset);
}

}  // namespace cais
