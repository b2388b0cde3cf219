#include "layer/erofs_metadata.h"

#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <utility>

#include "layer/image_head.h"
#include "layer/xattr_rules.h"

namespace cais {
namespace {

using erofs::kBlockBytes;

uint64_t RoundUp(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

template <typename T>
std::string_view BytesOf(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

struct TypeNumbers {
  uint16_t mode;
  uint8_t directory_entry;
};

TypeNumbers NumbersOf(EntryType type) {
  switch (type) {
    case EntryType::kFile:
    case EntryType::kHardLink:  // never the type of an inode
      return {S_IFREG, 1};
    case EntryType::kDirectory:
      return {S_IFDIR, 2};
    case EntryType::kCharacter:
      return {S_IFCHR, 3};
    case EntryType::kBlock:
      return {S_IFBLK, 4};
    case EntryType::kFifo:
      return {S_IFIFO, 5};
    case EntryType::kSymlink:
      return {S_IFLNK, 7};
  }
  return {S_IFREG, 1};
}

// As the kernel's new_encode_dev.
uint32_t EncodeDevice(uint32_t device) {
  const uint32_t major = device >> 20;
  const uint32_t minor = device & 0xfffff;
  return (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

uint64_t XattrBytes(const LayerInode& inode) {
  if (inode.xattr_bytes == 0) return 0;
  uint64_t size = sizeof(erofs::XattrHeader);
  LayerTree::ReadXattrs(inode, [&](std::string_view name, std::string_view value) {
    size +=
        RoundUp(sizeof(erofs::XattrEntry) + SplitXattrName(name).suffix.size() + value.size(), 4);
  });
  return size;
}

// Calls `visit(name, inode)` for every name of a directory in the order of EROFS, "." and ".."
// included.
template <typename Visit>
void VisitNames(const LayerTree& tree, InodeId directory, Visit visit) {
  const std::pair<std::string_view, InodeId> dots[] = {{".", directory},
                                                       {"..", tree.ParentOf(directory)}};
  size_t dots_done = 0;
  for (PlaceId id = tree.FirstChild(directory); id != kNoId; id = tree.place(id).next) {
    const LayerPlace& place = tree.place(id);
    for (; dots_done < 2 && dots[dots_done].first < place.Name(); ++dots_done) {
      visit(dots[dots_done].first, dots[dots_done].second);
    }
    visit(place.Name(), place.inode);
  }
  for (; dots_done < 2; ++dots_done) visit(dots[dots_done].first, dots[dots_done].second);
}

}  // namespace

ErofsMetadata::ErofsMetadata(LayerTree& tree, ImageWriter& writer)
    : tree_(tree), writer_(writer), order_(tree.Arrange()) {}

Status ErofsMetadata::Write() {
  tar_bytes_ = writer_.position() - kImageTarOffset;
  Status started = writer_.StartChecksum();
  if (started.ok()) started = writer_.PadTo(4096);
  if (!started.ok()) return started;
  meta_offset_ = writer_.position();
  using Step = Status (ErofsMetadata::*)();
  constexpr Step kSteps[] = {
      &ErofsMetadata::Plan,
      &ErofsMetadata::WriteInodes,
      &ErofsMetadata::WriteDirectories,
      &ErofsMetadata::WriteLinkTargets,
      &ErofsMetadata::WriteSparseCopies,
      &ErofsMetadata::WriteHead,
  };
  for (const Step step : kSteps) {
    const Status done = (this->*step)();
    if (!done.ok()) return done;
  }
  return Done{};
}

// Size of a directory: full blocks, and what the last one uses.
uint64_t ErofsMetadata::PlanDirectory(InodeId directory) const {
  uint64_t full_blocks = 0;
  uint64_t used = 0;
  VisitNames(tree_, directory, [&](std::string_view name, InodeId) {
    const uint64_t needed = sizeof(erofs::DirectoryEntry) + name.size();
    if (used + needed > kBlockBytes) {
      ++full_blocks;
      used = 0;
    }
    used += needed;
  });
  return full_blocks * kBlockBytes + used;
}

// Gives an inode its number (`mark`) and what belongs to it its blocks; returns the bytes that it
// takes.
uint64_t ErofsMetadata::PlanInode(InodeId id) {
  LayerInode& inode = tree_.inode(id);
  uint64_t start = inode_area_bytes_;
  const uint64_t head_bytes = erofs::kInodeBytes + XattrBytes(inode);
  uint64_t size = head_bytes;
  if (inode.type == EntryType::kDirectory) {
    inode.size = PlanDirectory(id);
    inode.tar_offset = directory_blocks_;
    directory_blocks_ += RoundUp(inode.size, kBlockBytes) / kBlockBytes;
  } else if (inode.type == EntryType::kFile && inode.tar_offset == LayerInode::kScattered) {
    SparseFile sparse{id, PlanSparseFile(inode.size, LayerTree::Runs(inode)), copy_blocks_};
    copy_blocks_ += sparse.plan.CopiedBytes() / kBlockBytes;
    size += 4 * sparse.plan.chunk_count;
    sparse_files_.push_back(sparse);
  } else if (inode.type == EntryType::kSymlink) {
    // Inline data must not cross a block: look for a slot from which it does not.
    constexpr uint64_t kSlots = kBlockBytes / erofs::kInodeSlotBytes;
    uint64_t tried = 0;
    const auto fits = [&] {
      return (start + head_bytes) % kBlockBytes + inode.size <= kBlockBytes;
    };
    for (; tried < kSlots && !fits(); ++tried) start += erofs::kInodeSlotBytes;
    if (tried < kSlots) {
      inode.tar_offset = LayerInode::kScattered;  // inline
      size += inode.size;
    } else {
      start = inode_area_bytes_;
      inode.tar_offset = link_blocks_;
      link_blocks_ += RoundUp(inode.size, kBlockBytes) / kBlockBytes;
    }
  }
  inode.mark = static_cast<uint32_t>(start / erofs::kInodeSlotBytes);
  return start - inode_area_bytes_ + RoundUp(size, erofs::kInodeSlotBytes);
}

Status ErofsMetadata::Plan() {
  for (const InodeId id : order_) inode_area_bytes_ += PlanInode(id);
  inode_area_bytes_ = RoundUp(inode_area_bytes_, kBlockBytes);
  const uint64_t blocks = directory_blocks_ + link_blocks_ + copy_blocks_;
  const uint64_t end = meta_offset_ + inode_area_bytes_ + blocks * kBlockBytes + 4096;
  if (end > erofs::kMaxImageBytes || inode_area_bytes_ / erofs::kInodeSlotBytes > UINT32_MAX) {
    return Refuse("LIMIT_EXCEEDED",
                  "The layer needs an image of " + std::to_string(end) +
                      " bytes: the image form takes 2 TiB, the directory form takes more");
  }
  return Done{};
}

Status ErofsMetadata::WriteInodes() {
  auto sparse = sparse_files_.cbegin();
  for (const InodeId id : order_) {
    const uint64_t start = meta_offset_ + uint64_t{tree_.inode(id).mark} * erofs::kInodeSlotBytes;
    const Status padded = writer_.AppendZeros(start - writer_.position());
    if (!padded.ok()) return padded;
    const bool is_sparse = sparse != sparse_files_.cend() && sparse->inode == id;
    const Status written = WriteInode(id, is_sparse ? &*sparse : nullptr);
    if (!written.ok()) return written;
    if (is_sparse) ++sparse;
  }
  return writer_.PadTo(kBlockBytes);
}

Status ErofsMetadata::WriteInode(InodeId id, const SparseFile* sparse) {
  const LayerInode& inode = tree_.inode(id);
  const uint64_t first_block = (meta_offset_ + inode_area_bytes_) / kBlockBytes;
  const uint64_t xattr_bytes = XattrBytes(inode);
  erofs::Layout layout = erofs::Layout::kPlain;
  uint64_t value = 0;
  switch (inode.type) {
    case EntryType::kDirectory:
      value = first_block + inode.tar_offset;
      break;
    case EntryType::kFile:
      if (sparse != nullptr) {
        layout = erofs::Layout::kChunked;
        value = sparse->plan.chunk_shift;
      } else if (inode.size > 0) {
        value = (kImageTarOffset + inode.tar_offset) / kBlockBytes;
      }
      break;
    case EntryType::kSymlink:
      if (inode.tar_offset == LayerInode::kScattered) {
        layout = erofs::Layout::kInline;
      } else {
        value = first_block + directory_blocks_ + inode.tar_offset;
      }
      break;
    case EntryType::kCharacter:
    case EntryType::kBlock:
      value = EncodeDevice(inode.device_or_child);
      break;
    case EntryType::kFifo:
    case EntryType::kHardLink:
      break;
  }
  erofs::Inode head{};
  head.format = erofs::InodeFormat(layout);
  head.xattr_count = static_cast<uint16_t>(
      xattr_bytes == 0 ? 0 : 1 + (xattr_bytes - sizeof(erofs::XattrHeader)) / 4);
  head.mode = static_cast<uint16_t>(NumbersOf(inode.type).mode | inode.mode);
  head.size = inode.size;
  head.value = static_cast<uint32_t>(value);
  head.number = id + 1;
  head.uid = inode.uid;
  head.gid = inode.gid;
  head.mtime_seconds = static_cast<uint64_t>(inode.mtime_seconds);
  head.mtime_nanos = inode.mtime_nanos;
  head.links = inode.links;
  Status written = writer_.Append(BytesOf(head));
  if (written.ok() && xattr_bytes > 0) written = WriteXattrs(inode);
  if (written.ok() && sparse != nullptr) written = WriteChunkTable(*sparse);
  if (written.ok() && layout == erofs::Layout::kInline) {
    written = writer_.Append(LayerTree::LinkTarget(inode));
  }
  return written;
}

Status ErofsMetadata::WriteXattrs(const LayerInode& inode) {
  std::string area(BytesOf(erofs::XattrHeader{}));
  LayerTree::ReadXattrs(inode, [&](std::string_view name, std::string_view value) {
    const XattrName split = SplitXattrName(name);
    const erofs::XattrEntry entry{static_cast<uint8_t>(split.suffix.size()), split.index,
                                  static_cast<uint16_t>(value.size())};
    area += BytesOf(entry);
    area += split.suffix;
    area += value;
    area.resize(RoundUp(area.size(), 4), '\0');
  });
  return writer_.Append(area);
}

Status ErofsMetadata::WriteChunkTable(const SparseFile& sparse) {
  const LayerInode& inode = tree_.inode(sparse.inode);
  const uint64_t chunk_bytes = sparse.plan.ChunkBytes();
  uint64_t copy_block = (meta_offset_ + inode_area_bytes_) / kBlockBytes + directory_blocks_ +
                        link_blocks_ + sparse.first_copy_block;
  uint64_t next_chunk = 0;
  Status written = Done{};
  const auto append = [&](uint64_t block) {
    if (!written.ok()) return;
    const auto number = static_cast<uint32_t>(block);
    written = writer_.Append(BytesOf(number));
    ++next_chunk;
  };
  VisitChunks(inode.size, LayerTree::Runs(inode), chunk_bytes, [&](const ChunkRange& range) {
    while (next_chunk < range.first_chunk && written.ok()) append(erofs::kHole);
    for (uint64_t i = 0; i < range.count && written.ok(); ++i) {
      if (range.copied) {
        append(copy_block);
        copy_block += chunk_bytes / kBlockBytes;
      } else {
        append((kImageTarOffset + range.tar_offset + i * chunk_bytes) / kBlockBytes);
      }
    }
  });
  while (next_chunk < sparse.plan.chunk_count && written.ok()) append(erofs::kHole);
  return written;
}

Status ErofsMetadata::WriteDirectories() {
  for (const InodeId id : order_) {
    if (tree_.inode(id).type != EntryType::kDirectory) continue;
    const Status written = WriteDirectory(id);
    if (!written.ok()) return written;
  }
  return Done{};
}

// Each block: its entries, then their names, then zeros.
Status ErofsMetadata::WriteDirectory(InodeId directory) {
  std::vector<erofs::DirectoryEntry> entries;
  std::string names;
  Status written = Done{};
  const auto flush = [&] {
    std::string block;
    for (erofs::DirectoryEntry& entry : entries) {
      entry.name_offset = static_cast<uint16_t>(entry.name_offset + entries.size() * sizeof entry);
      block += BytesOf(entry);
    }
    block += names;
    block.resize(kBlockBytes, '\0');
    entries.clear();
    names.clear();
    if (written.ok()) written = writer_.Append(block);
  };
  VisitNames(tree_, directory, [&](std::string_view name, InodeId id) {
    const size_t used = entries.size() * sizeof(erofs::DirectoryEntry) + names.size();
    if (used + sizeof(erofs::DirectoryEntry) + name.size() > kBlockBytes) flush();
    const LayerInode& inode = tree_.inode(id);
    entries.push_back({inode.mark, static_cast<uint16_t>(names.size()),
                       NumbersOf(inode.type).directory_entry, 0});
    names += name;
  });
  flush();
  return written;
}

Status ErofsMetadata::WriteLinkTargets() {
  for (const InodeId id : order_) {
    const LayerInode& inode = tree_.inode(id);
    if (inode.type != EntryType::kSymlink || inode.tar_offset == LayerInode::kScattered) continue;
    Status written = writer_.Append(LayerTree::LinkTarget(inode));
    if (written.ok()) written = writer_.PadTo(kBlockBytes);
    if (!written.ok()) return written;
  }
  return Done{};
}

Status ErofsMetadata::WriteSparseCopies() {
  for (const SparseFile& sparse : sparse_files_) {
    const LayerInode& inode = tree_.inode(sparse.inode);
    const std::span<const DataRun> runs = LayerTree::Runs(inode);
    const uint64_t chunk_bytes = sparse.plan.ChunkBytes();
    Status written = Done{};
    size_t run_at = 0;  // the first run that may lie in the chunk
    VisitChunks(inode.size, runs, chunk_bytes, [&](const ChunkRange& range) {
      if (!range.copied || !written.ok()) return;
      const uint64_t start = range.first_chunk * chunk_bytes;
      const uint64_t end = start + chunk_bytes;
      uint64_t at = start;
      while (runs[run_at].file_offset + runs[run_at].length <= start) ++run_at;
      for (size_t i = run_at; i < runs.size() && runs[i].file_offset < end && written.ok(); ++i) {
        const uint64_t from = std::max(start, runs[i].file_offset);
        const uint64_t to = std::min(end, runs[i].file_offset + runs[i].length);
        written = writer_.AppendZeros(from - at);
        if (!written.ok()) return;
        written = writer_.AppendCopy(
            kImageTarOffset + runs[i].tar_offset + (from - runs[i].file_offset), to - from);
        at = to;
      }
      if (written.ok()) written = writer_.AppendZeros(end - at);
    });
    if (!written.ok()) return written;
  }
  return Done{};
}

Status ErofsMetadata::WriteHead() {
  Status written = writer_.PadTo(4096);
  if (written.ok()) written = writer_.Flush();
  if (!written.ok()) return written;

  const ImageHead head{tar_bytes_, tree_.entries(), meta_offset_,
                       writer_.position() - meta_offset_};
  erofs::Superblock superblock{};
  superblock.magic = erofs::kMagic;
  superblock.feature_compat = erofs::kCompatMtime;
  superblock.block_bits = erofs::kBlockBits;
  superblock.root_nid = static_cast<uint16_t>(tree_.inode(LayerTree::kRoot).mark);
  superblock.inode_count = order_.size();
  superblock.block_count = static_cast<uint32_t>(writer_.position() / kBlockBytes);
  superblock.meta_block = static_cast<uint32_t>(meta_offset_ / kBlockBytes);
  superblock.feature_incompat = sparse_files_.empty() ? 0 : erofs::kIncompatChunkedFile;
  return writer_.Overwrite(0, EncodeImageHead(head, superblock, writer_.TakeChecksum()));
}

}  // namespace cais
