#include "layer/blob_writer.h"

#include <fcntl.h>
#include <unistd.h>

namespace cais {

Status BlobWriter::CreateFile(int directory_fd, uint64_t reserve_bytes) {
  fd_.Reset(
      ::openat(directory_fd, "blob", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd_) return Errno("create", "blob");
  reserve_.emplace(fd_.get(), reserve_bytes);
  allocation_.emplace(fd_.get());
  return Done{};
}

Status BlobWriter::Count(size_t bytes) {
  size_bytes_ += bytes;
  if (expected_bytes_ && size_bytes_ > *expected_bytes_) {
    return Refuse("SIZE_MISMATCH", "The blob has more bytes than the " +
                                       std::to_string(*expected_bytes_) + " announced");
  }
  return Done{};
}

Status BlobWriter::Write(std::string_view bytes) {
  if (!fd_) return Done{};
  if (Status reserved = reserve_->Take(bytes.size()); !reserved.ok()) return reserved;
  allocation_->Cover(size_bytes_);
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_.get(), bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return Errno("write", "blob");
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return Done{};
}

Status BlobWriter::Finish() {
  if (expected_bytes_ && size_bytes_ != *expected_bytes_) {
    return Refuse("SIZE_MISMATCH", "The blob has " + std::to_string(size_bytes_) + " bytes, " +
                                       std::to_string(*expected_bytes_) + " were announced");
  }
  if (allocation_) allocation_->Trim(size_bytes_);
  return Done{};
}

}  // namespace cais
