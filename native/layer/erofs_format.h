#pragma once

#include <bit>
#include <cstdint>

// What the kernel reads of an EROFS image, and what we write of it. Everything little-endian.
// @see Documentation/filesystems/erofs.rst
namespace cais::erofs {

static_assert(std::endian::native == std::endian::little);

inline constexpr uint32_t kMagic = 0xE0F5E1E2;
inline constexpr uint64_t kSuperblockOffset = 1024;
inline constexpr uint8_t kBlockBits = 9;
inline constexpr uint64_t kBlockBytes = 1 << kBlockBits;
// Block numbers have 32 bits; the last one means "hole".
inline constexpr uint64_t kMaxImageBytes = (uint64_t{UINT32_MAX} - 1) * kBlockBytes;
// An inode's number is its place in the metadata area in units of:
inline constexpr uint64_t kInodeSlotBytes = 32;
inline constexpr uint64_t kInodeBytes = 64;
inline constexpr uint32_t kHole = UINT32_MAX;

inline constexpr uint32_t kCompatMtime = 2;
inline constexpr uint32_t kIncompatChunkedFile = 4;

struct Superblock {
  uint32_t magic;
  uint32_t checksum;
  uint32_t feature_compat;
  uint8_t block_bits;
  uint8_t extension_slots;
  uint16_t root_nid;
  uint64_t inode_count;
  uint64_t base_time_seconds;
  uint32_t base_time_nanos;
  uint32_t block_count;
  uint32_t meta_block;
  uint32_t xattr_block;
  uint8_t uuid[16];
  char volume_name[16];
  uint32_t feature_incompat;
  uint8_t unused[44];
};
static_assert(sizeof(Superblock) == 128);

enum class Layout : uint16_t { kPlain = 0, kInline = 2, kChunked = 4 };

constexpr uint16_t InodeFormat(Layout layout) {
  return static_cast<uint16_t>(1 | static_cast<uint16_t>(layout) << 1);
}

struct Inode {
  uint16_t format;
  uint16_t xattr_count;
  uint16_t mode;
  uint16_t unused;
  uint64_t size;
  uint32_t value;  // first block, device number or chunk format
  uint32_t number;
  uint32_t uid;
  uint32_t gid;
  uint64_t mtime_seconds;
  uint32_t mtime_nanos;
  uint32_t links;
  uint8_t unused2[16];
};
static_assert(sizeof(Inode) == kInodeBytes);

struct __attribute__((packed)) DirectoryEntry {
  uint64_t nid;
  uint16_t name_offset;
  uint8_t type;
  uint8_t unused;
};
static_assert(sizeof(DirectoryEntry) == 12);

struct XattrHeader {
  uint32_t name_filter;
  uint8_t shared_count;
  uint8_t unused[7];
};
static_assert(sizeof(XattrHeader) == 12);

struct XattrEntry {
  uint8_t name_bytes;
  uint8_t name_index;
  uint16_t value_bytes;
};
static_assert(sizeof(XattrEntry) == 4);

}  // namespace cais::erofs
