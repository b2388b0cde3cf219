#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/result.h"
#include "layer/layer_end.h"

namespace cais {

// Names that begin so are notes for who unpacks, never files.
inline constexpr std::string_view kWhiteoutPrefix = ".wh.";
// Longest component and longest path below the root, as on every Linux file system.
inline constexpr size_t kMaxNameBytes = 255;
inline constexpr size_t kMaxPathBytes = 4096;
// What symlink(2) takes.
inline constexpr size_t kMaxLinkTargetBytes = 4095;
// The header of an EROFS xattr has 16 bits for the size of a value and the inode 16 bits for the
// size of all in units of 4 bytes.
inline constexpr size_t kMaxXattrValueBytes = 65535;
inline constexpr size_t kMaxXattrAreaBytes = 4 * 65500;  // leaves room for the mark of overlayfs
// ext4 with 4 KiB blocks takes no longer file.
inline constexpr uint64_t kMaxFileBytes = (uint64_t{1} << 44) - 4096;

// A name of the tar for a message: quoted, control bytes escaped, cut after 200 bytes.
std::string QuoteName(std::string_view name);

// REFUSED_ENTRY: `Refused entry "name": reason`.
Failure RefuseEntry(std::string_view name, std::string_view reason);

// What the last component of a name asks for.
enum class NameKind {
  kPlain,
  kWhiteout,  // ".wh.NAME": removes NAME of the layers below
  kOpaque,    // ".wh..wh..opq": hides everything of the layers below in this directory
  kIgnored,   // other ".wh..wh.": notes of aufs, no files
};

struct EntryName {
  NameKind kind = NameKind::kPlain;
  // Components below the root; without the marker of a whiteout or of an opaque directory. Views
  // into the name given.
  std::vector<std::string_view> components;
};

// Takes a name of the tar apart: "/", "./" and doubled slashes do not count, ".." goes back. Empty
// `components` is the root. Refuses what leaves the root, names that are too long, and malformed
// whiteouts. `name` stays the caller's and must outlive the result.
Status SplitEntryName(std::string_view name, EntryName& result);

// Checks and normalises the attributes of an entry that both ends must treat alike: owner, device
// number, link target, size and data runs, times (clamped to what ext4 can store), xattrs (see
// FilterXattrs).
Status CheckEntry(TarEntry& entry);

}  // namespace cais
