#include "layer/image_head.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string_view>

#include "layer/erofs_format.h"

namespace cais {

Result<ImageHead> ReadImageHead(int fd) {
  char bytes[erofs::kSuperblockOffset + sizeof(erofs::Superblock)];
  const ssize_t got = ::pread(fd, bytes, sizeof bytes, 0);
  if (got < 0) return Errno("pread", "layer");
  struct stat status;
  if (::fstat(fd, &status) != 0) return Errno("fstat", "layer");
  const auto bad = [](std::string_view why) {
    return Refuse("BAD_LAYER", "The layer image " + std::string(why));
  };
  if (!S_ISREG(status.st_mode) || got != static_cast<ssize_t>(sizeof bytes)) {
    return bad("is no file of cais, or is cut off");
  }
  erofs::Superblock superblock;
  std::memcpy(&superblock, bytes + erofs::kSuperblockOffset, sizeof superblock);
  char format[16] = {};
  std::memcpy(format, kImageFormatName.data(), kImageFormatName.size());
  if (superblock.magic != erofs::kMagic || std::memcmp(bytes, format, sizeof format) != 0 ||
      std::memcmp(superblock.volume_name, format, sizeof format) != 0) {
    return bad("is no file of cais, or of another version of its format");
  }
  ImageHead head;
  std::memcpy(&head.tar_bytes, bytes + 16, 8);
  std::memcpy(&head.entries, bytes + 24, 8);
  const auto file_bytes = static_cast<uint64_t>(status.st_size);
  if (file_bytes != uint64_t{superblock.block_count} * erofs::kBlockBytes ||
      head.tar_bytes > file_bytes || kImageTarOffset + head.tar_bytes > file_bytes) {
    return bad("is cut off");
  }
  return head;
}

}  // namespace cais
