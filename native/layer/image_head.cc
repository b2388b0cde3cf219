#include "layer/image_head.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

namespace cais {
namespace {

constexpr size_t kNameBytes = 16;
constexpr size_t kChecksumOffset = 48;
constexpr size_t kReadBytes = 1 << 20;
// What all versions of the format begin with.
constexpr std::string_view kFormatFamily = "cais-layer-";

using HeadBytes = std::array<char, kImageTarOffset>;

Failure Bad(std::string_view why) {
  return Refuse("BAD_LAYER", "The layer image " + std::string(why));
}

std::array<char, kNameBytes> FormatName() {
  std::array<char, kNameBytes> name{};
  std::copy(kImageFormatName.begin(), kImageFormatName.end(), name.begin());
  return name;
}

std::string_view View(const HeadBytes& bytes) { return {bytes.data(), bytes.size()}; }

// Says why a head without our name is none that we can read.
Failure ExplainForeign(const HeadBytes& bytes) {
  const std::string_view text(bytes.data(), kNameBytes);
  if (!text.starts_with(kFormatFamily)) return Bad("is no file of cais");
  const std::string_view name = text.substr(0, text.find('\0'));
  const bool is_printable =
      std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (!is_printable) return Bad("has a damaged head");
  return Bad("has the format \"" + std::string(name) + "\", but this version of cais reads \"" +
             std::string(kImageFormatName) + "\"; the layer must be made again from its blob");
}

Result<ImageHead> ParseHead(const HeadBytes& bytes, uint64_t file_bytes) {
  const std::array<char, kNameBytes> format = FormatName();
  if (std::memcmp(bytes.data(), format.data(), kNameBytes) != 0) return ExplainForeign(bytes);
  erofs::Superblock superblock;
  std::memcpy(&superblock, bytes.data() + erofs::kSuperblockOffset, sizeof superblock);
  ImageHead head;
  const std::pair<size_t, uint64_t*> fields[] = {{16, &head.tar_bytes},
                                                 {24, &head.entries},
                                                 {32, &head.metadata_offset},
                                                 {40, &head.metadata_bytes}};
  for (const auto& [offset, field] : fields) {
    std::memcpy(field, bytes.data() + offset, sizeof *field);
  }
  if (superblock.magic != erofs::kMagic ||
      std::memcmp(superblock.volume_name, format.data(), kNameBytes) != 0 ||
      superblock.meta_block * erofs::kBlockBytes != head.metadata_offset ||
      head.metadata_offset < kImageTarOffset ||
      head.tar_bytes > head.metadata_offset - kImageTarOffset) {
    return Bad("has a damaged head");
  }
  if (superblock.block_count * erofs::kBlockBytes != file_bytes ||
      head.metadata_offset > file_bytes ||
      head.metadata_bytes != file_bytes - head.metadata_offset) {
    return Bad("is cut off, or has a damaged head");
  }
  return head;
}

Result<ImageHead> ReadHead(int fd, HeadBytes& bytes) {
  struct stat status;
  if (::fstat(fd, &status) != 0) return Errno("fstat", "layer");
  if (!S_ISREG(status.st_mode)) return Bad("is no regular file");
  const ssize_t got = ::pread(fd, bytes.data(), bytes.size(), 0);
  if (got < 0) return Errno("pread", "layer");
  if (got != static_cast<ssize_t>(bytes.size())) return Bad("is no file of cais, or is cut off");
  return ParseHead(bytes, static_cast<uint64_t>(status.st_size));
}

}  // namespace

std::string EncodeImageHead(const ImageHead& head, const erofs::Superblock& superblock,
                            Sha256 checksum) {
  std::string bytes(kImageTarOffset, '\0');
  const auto put = [&bytes](size_t offset, const void* field, size_t size) {
    std::memcpy(bytes.data() + offset, field, size);
  };
  erofs::Superblock named = superblock;
  std::memcpy(named.volume_name, FormatName().data(), kNameBytes);
  put(0, FormatName().data(), kNameBytes);
  put(16, &head.tar_bytes, 8);
  put(24, &head.entries, 8);
  put(32, &head.metadata_offset, 8);
  put(40, &head.metadata_bytes, 8);
  put(erofs::kSuperblockOffset, &named, sizeof named);
  checksum.Update(bytes);
  const std::array<char, Sha256::kBytes> sum = checksum.FinishBytes();
  put(kChecksumOffset, sum.data(), sum.size());
  return bytes;
}

Result<ImageHead> ReadImageHead(int fd) {
  HeadBytes bytes;
  return ReadHead(fd, bytes);
}

Result<std::string> DigestImage(int fd, const std::function<bool()>& stopping) {
  HeadBytes bytes;
  Result<ImageHead> head = ReadHead(fd, bytes);
  if (!head.ok()) return head.failure();
  const uint64_t tar_end = kImageTarOffset + head.value().tar_bytes;
  const uint64_t file_end = head.value().metadata_offset + head.value().metadata_bytes;
  Sha256 tar;
  Sha256 checksum;
  const auto buffer = std::make_unique_for_overwrite<char[]>(kReadBytes);
  for (uint64_t at = kImageTarOffset; at < file_end;) {
    if (stopping()) return Refuse("ABORTED", "Node is ending");
    const bool is_tar = at < tar_end;
    const size_t want = std::min<uint64_t>(kReadBytes, (is_tar ? tar_end : file_end) - at);
    const ssize_t got = ::pread(fd, buffer.get(), want, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Errno("pread", "layer");
    if (got == 0) return Bad("was cut off while it was read");
    (is_tar ? tar : checksum).Update({buffer.get(), static_cast<size_t>(got)});
    at += static_cast<uint64_t>(got);
  }
  std::array<char, Sha256::kBytes> written;
  std::copy_n(bytes.begin() + kChecksumOffset, written.size(), written.begin());
  std::fill_n(bytes.begin() + kChecksumOffset, written.size(), '\0');
  checksum.Update(View(bytes));
  if (checksum.FinishBytes() != written) {
    return Bad("is damaged: its head or metadata does not have the checksum that was written");
  }
  return tar.Finish();
}

}  // namespace cais
