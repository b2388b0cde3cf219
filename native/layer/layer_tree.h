#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/result.h"
#include "layer/byte_arena.h"
#include "layer/entry_rules.h"
#include "layer/layer_end.h"

namespace cais {

using InodeId = uint32_t;
using PlaceId = uint32_t;
inline constexpr uint32_t kNoId = UINT32_MAX;

// A file of any type. Hard links are several places with one inode.
struct LayerInode {
  int64_t mtime_seconds = 0;
  uint64_t size = 0;
  // Where the data of a file lies in the tar, when it is one run; kScattered: `runs`.
  uint64_t tar_offset = 0;
  // Target of a symbolic link (`text_bytes` long), or the runs of a sparse file (`text_bytes` of
  // them).
  const char* text = nullptr;
  // Encoded xattrs; see LayerTree::ReadXattrs.
  const char* xattrs = nullptr;
  uint32_t xattr_bytes = 0;
  uint32_t text_bytes = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t mtime_nanos = 0;
  // Devices: major << 20 | minor. Directories: their first child, a PlaceId.
  uint32_t device_or_child = kNoId;
  // Directories: their own place (they have only one).
  PlaceId place = kNoId;
  // Reachable places; directories: 2 and one for each directory in it. Set by LayerTree::Arrange.
  uint32_t links = 0;
  // For the end that writes the tree out.
  uint32_t mark = 0;
  uint16_t mode = 0;
  EntryType type = EntryType::kFile;
  bool listed : 1 = false;  // false: a directory that entries need but the tar does not list
  bool opaque : 1 = false;  // a directory that hides what the layers below have in it

  static constexpr uint64_t kScattered = UINT64_MAX;
};

// A name in a directory.
struct LayerPlace {
  const char* name = nullptr;
  InodeId parent = kNoId;
  InodeId inode = kNoId;    // kNoId: only a whiteout stands here
  PlaceId next = kNoId;     // in the same directory
  uint16_t path_bytes = 0;  // length of the path from the root
  uint8_t name_bytes = 0;
  bool whiteout = false;

  std::string_view Name() const { return {name, name_bytes}; }
};

// What an entry changed, for an end that follows on the disk while the tar passes.
struct LayerChange {
  enum class Kind {
    kNone,      // nothing to create: a whiteout, an opaque marker, a directory listed again
    kInode,     // `place` has a new inode
    kHardLink,  // `place` is a new name of the inode at `target`
  };
  Kind kind = Kind::kNone;
  // Directories that came to be because an entry lies below them, parents first. Valid until the
  // next Add.
  std::span<const InodeId> implied;
  // What stood at `place` is not part of the layer any more; a directory with all that is in it.
  bool displaced = false;
  PlaceId place = kNoId;
  PlaceId target = kNoId;
};

// The files of one layer, in memory, made from the entries of its tar in their order. It decides
// what names, links, duplicates and whiteouts mean; both ends of the pipeline only write out what
// it says, so both forms of a layer are alike. No name of the tar is ever resolved by the kernel:
// links are followed in this tree,
// ".." stays at its root.
//
// - The last entry of a name counts. A directory listed again keeps what is in it. A directory in
// place of
//   something else of this layer is opaque: what it replaced had hidden the layers below.
// - Directories that the tar does not list are made where needed (0755, 0:0, time 0, `listed`
// false).
// - A whiteout and a real entry of one name: the real one counts, and hides what is below.
// - Hard links lead to files of this layer only.
// - A directory with whiteouts has an empty xattr "trusted.overlay.origin": overlayfs reads a
//   directory that only one layer has as it is, whiteouts included, unless it has this mark of a
//   directory that was copied up.
//
// Takes at most 300 bytes for an entry, plus names, link targets and xattrs.
class LayerTree {
 public:
  explicit LayerTree(const EndLimits& limits);

  // Adds one entry. Codes: REFUSED_ENTRY, LIMIT_EXCEEDED, BAD_TAR.
  Result<LayerChange> Add(TarEntry& entry);

  // Makes the whiteouts, sorts every directory by the bytes of its names, counts links, and returns
  // the reachable inodes, directories before what is in them. No Add after it.
  const std::vector<InodeId>& Arrange();

  // Paths of the directories that are not listed, parents first; the root is "". After Arrange.
  std::vector<std::string> ImpliedDirectories() const;

  static constexpr InodeId kRoot = 0;
  const LayerInode& inode(InodeId id) const { return inodes_[id]; }
  LayerInode& inode(InodeId id) { return inodes_[id]; }
  const LayerPlace& place(PlaceId id) const { return places_[id]; }
  size_t inode_count() const { return inodes_.size(); }
  uint64_t entries() const { return entries_; }
  // Parent of a directory; the root's is itself.
  InodeId ParentOf(InodeId directory) const;
  std::string PathOf(PlaceId id) const;
  // Names in a directory, in order after Arrange: `for (id = FirstChild(d); id != kNoId; id =
  // place(id).next)`.
  PlaceId FirstChild(InodeId directory) const { return inodes_[directory].device_or_child; }

  static std::string_view LinkTarget(const LayerInode& inode) {
    return {inode.text, inode.text_bytes};
  }
  static std::span<const DataRun> Runs(const LayerInode& inode) {
    return {reinterpret_cast<const DataRun*>(inode.text), inode.text_bytes};
  }
  // Calls `visit(name, value)` for each xattr.
  template <typename Visit>
  static void ReadXattrs(const LayerInode& inode, Visit visit);

 private:
  // Where a name leads: a directory, and what does not exist below it yet.
  struct Position {
    InodeId directory = kRoot;
    std::vector<std::string_view> missing;
    bool by_link = false;  // a symbolic link was followed
  };

  Status Walk(std::string_view shown, std::span<const std::string_view> names, Position& position);
  Result<InodeId> MakeParents(const TarEntry& entry, std::span<const std::string_view> names);
  Result<LayerChange> AddHardLink(const TarEntry& entry, PlaceId place, LayerChange change);
  Status AddWhiteout(const TarEntry& entry);
  Status SetRoot(const TarEntry& entry);

  PlaceId Find(InodeId directory, std::string_view name) const {
    return Find(directory, name, HashOf(directory, name));
  }
  PlaceId Find(InodeId directory, std::string_view name, uint32_t hash) const;
  Result<PlaceId> MakePlace(std::string_view shown, InodeId directory, std::string_view name);
  InodeId MakeInode(EntryType type);
  InodeId MakeDirectory(PlaceId place);
  InodeId MakeWhiteout();
  void Describe(const TarEntry& entry, LayerInode& inode);
  void KeepXattrs(const std::string& encoded, LayerInode& inode);
  void AddMark(std::string_view name, std::string_view value, LayerInode& inode);
  void SortChildren(InodeId directory, std::vector<PlaceId>& children);
  Status CheckLimits(const TarEntry& entry) const;
  Status CheckSparse(const TarEntry& entry);

  uint32_t HashOf(InodeId directory, std::string_view name) const;
  void GrowIndex();

  EndLimits limits_;
  uint64_t entries_ = 0;
  uint64_t sparse_overhead_bytes_ = 0;
  ByteArena bytes_;
  // Deques, since they grow without a copy of everything.
  std::deque<LayerInode> inodes_;
  std::deque<LayerPlace> places_;
  // Open addressing by parent and name, at most 3/4 full. With the hashes, so that a name that is
  // not there is not compared with those in its way, which lie all over the memory.
  struct Slot {
    uint32_t hash;
    PlaceId place = kNoId;  // kNoId: empty
  };
  Slot& EmptySlot(uint32_t hash);
  std::vector<Slot> index_;
  // Random, so that an image cannot choose names that collide.
  std::array<uint64_t, 2> hash_keys_{};
  std::vector<InodeId> order_;
  std::vector<InodeId> implied_;  // of the current Add
  EntryName name_;                // of the current Add, kept for its memory
  // Where the path of the last parents leads, if that goes through directories only: the next entry
  // mostly lies beside it. Holds until something is displaced.
  std::string parents_path_;
  InodeId parents_ = kNoId;
};

template <typename Visit>
void LayerTree::ReadXattrs(const LayerInode& inode, Visit visit) {
  std::string_view rest{inode.xattrs, inode.xattr_bytes};
  while (!rest.empty()) {
    const auto byte = [&](size_t at) { return static_cast<unsigned char>(rest[at]); };
    const size_t name_bytes = byte(0);
    const size_t value_bytes = byte(1) | static_cast<size_t>(byte(2)) << 8;
    visit(rest.substr(3, name_bytes), rest.substr(3 + name_bytes, value_bytes));
    rest.remove_prefix(3 + name_bytes + value_bytes);
  }
}

}  // namespace cais
