#include "layer/layer_tree.h"

#include <sys/random.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "layer/sparse_plan.h"

namespace cais {
namespace {

// As in the kernel (MAXSYMLINKS).
constexpr int kMaxLinksFollowed = 40;

constexpr uint64_t kMaxSparseOverheadBytes = uint64_t{4} << 30;

// The data of the file lies in the tar as a file system wants it.
bool IsOneRun(const TarEntry& entry) {
  return entry.runs.size() == 1 && entry.runs[0].file_offset == 0 &&
         entry.runs[0].length == entry.size && entry.runs[0].tar_offset % 512 == 0;
}

void AppendXattr(std::string_view name, std::string_view value, std::string& encoded) {
  encoded += static_cast<char>(name.size());
  encoded += static_cast<char>(value.size() & 0xff);
  encoded += static_cast<char>(value.size() >> 8);
  encoded += name;
  encoded += value;
}

}  // namespace

LayerTree::LayerTree(const EndLimits& limits) : limits_(limits), index_(1024) {
  if (::getrandom(hash_keys_.data(), sizeof hash_keys_, 0) != sizeof hash_keys_) {
    // Before the pool is ready at boot only: any odd value keeps the tree correct.
    hash_keys_ = {0x9e3779b97f4a7c15, reinterpret_cast<uintptr_t>(this)};
  }
  const InodeId root = MakeInode(EntryType::kDirectory);
  inodes_[root].mode = 0755;
}

uint32_t LayerTree::HashOf(InodeId directory, std::string_view name) const {
  const uint64_t factor = hash_keys_[0] | 1;
  uint64_t hash = hash_keys_[1] ^ (uint64_t{directory} << 32 | name.size());
  const auto mix = [&](uint64_t word) {
    hash = (hash ^ word) * factor;
    hash ^= hash >> 29;
  };
  mix(directory);
  size_t at = 0;
  for (; at < name.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, name.data() + at, std::min<size_t>(8, name.size() - at));
    mix(word);
  }
  return static_cast<uint32_t>(hash ^ hash >> 32);
}

PlaceId LayerTree::Find(InodeId directory, std::string_view name, uint32_t hash) const {
  const size_t mask = index_.size() - 1;
  for (size_t at = hash & mask; index_[at].place != kNoId; at = (at + 1) & mask) {
    if (index_[at].hash != hash) continue;
    const LayerPlace& place = places_[index_[at].place];
    if (place.parent == directory && place.Name() == name) return index_[at].place;
  }
  return kNoId;
}

LayerTree::Slot& LayerTree::EmptySlot(uint32_t hash) {
  const size_t mask = index_.size() - 1;
  size_t at = hash & mask;
  while (index_[at].place != kNoId) at = (at + 1) & mask;
  return index_[at];
}

void LayerTree::GrowIndex() {
  const std::vector<Slot> before = std::exchange(index_, std::vector<Slot>(index_.size() * 2));
  for (const Slot& slot : before) {
    if (slot.place != kNoId) EmptySlot(slot.hash) = slot;
  }
}

// The place of `name` in `directory`, made if there is none.
Result<PlaceId> LayerTree::MakePlace(std::string_view shown, InodeId directory,
                                     std::string_view name) {
  const uint32_t hash = HashOf(directory, name);
  const PlaceId found = Find(directory, name, hash);
  if (found != kNoId) return found;
  if (name.size() > kMaxNameBytes) {
    return RefuseEntry(shown, "a link on its way has a part longer than 255 bytes");
  }
  const PlaceId above = inodes_[directory].place;
  const size_t path_bytes =
      (above == kNoId ? 0 : size_t{places_[above].path_bytes} + 1) + name.size();
  if (path_bytes > kMaxPathBytes) {
    return RefuseEntry(shown, "its place is deeper than a path of 4096 bytes");
  }
  if ((places_.size() + 1) * 4 > index_.size() * 3) GrowIndex();

  LayerPlace place;
  place.name = bytes_.Keep(name);
  place.name_bytes = static_cast<uint8_t>(name.size());
  place.path_bytes = static_cast<uint16_t>(path_bytes);
  place.parent = directory;
  place.next = inodes_[directory].device_or_child;
  const auto id = static_cast<PlaceId>(places_.size());
  inodes_[directory].device_or_child = id;
  places_.push_back(place);

  EmptySlot(hash) = {hash, id};
  return id;
}

InodeId LayerTree::MakeInode(EntryType type) {
  LayerInode& inode = inodes_.emplace_back();
  inode.type = type;
  return static_cast<InodeId>(inodes_.size() - 1);
}

InodeId LayerTree::MakeDirectory(PlaceId place) {
  const InodeId id = MakeInode(EntryType::kDirectory);
  inodes_[id].mode = 0755;
  inodes_[id].place = place;
  places_[place].inode = id;
  return id;
}

// How overlayfs knows a removed name: a character device 0:0.
// @see Documentation/filesystems/overlayfs.rst, "Whiteouts and opaque directories"
InodeId LayerTree::MakeWhiteout() {
  const InodeId id = MakeInode(EntryType::kCharacter);
  inodes_[id].device_or_child = 0;
  return id;
}

InodeId LayerTree::ParentOf(InodeId directory) const {
  const PlaceId place = inodes_[directory].place;
  return place == kNoId ? kRoot : places_[place].parent;
}

// Goes along `names` from the root, as the kernel would with this layer as its root directory, and
// follows symbolic links on the way, the last name's too. Creates nothing.
Status LayerTree::Walk(std::string_view shown, std::span<const std::string_view> names,
                       Position& position) {
  // What is still to go, last first; a link puts its target on top.
  std::vector<std::string_view> ahead(names.rbegin(), names.rend());
  int links_followed = 0;
  while (!ahead.empty()) {
    const std::string_view name = ahead.back();
    ahead.pop_back();
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      if (position.missing.empty()) {
        position.directory = ParentOf(position.directory);
      } else {
        position.missing.pop_back();
      }
      continue;
    }
    const PlaceId place = position.missing.empty() ? Find(position.directory, name) : kNoId;
    if (place == kNoId || places_[place].inode == kNoId) {
      if (name.starts_with(kWhiteoutPrefix)) {
        return RefuseEntry(shown, "a link on its way leads below the name of a whiteout");
      }
      position.missing.push_back(name);
      continue;
    }
    const LayerInode& inode = inodes_[places_[place].inode];
    if (inode.type == EntryType::kDirectory) {
      position.directory = places_[place].inode;
    } else if (inode.type == EntryType::kSymlink) {
      position.by_link = true;
      if (++links_followed > kMaxLinksFollowed) {
        return RefuseEntry(shown, "too many symbolic links on its way");
      }
      const std::string_view target = LinkTarget(inode);
      if (target.front() == '/') position.directory = kRoot;
      for (size_t end = target.size();;) {
        const size_t slash = end == 0 ? std::string_view::npos : target.rfind('/', end - 1);
        const size_t start = slash == std::string_view::npos ? 0 : slash + 1;
        ahead.push_back(target.substr(start, end - start));
        if (slash == std::string_view::npos) break;
        end = slash;
      }
    } else {
      return RefuseEntry(
          shown, "it lies below a name that is not a directory: " + QuoteName(PathOf(place)));
    }
  }
  return Done{};
}

// The directory that `names` lead to; what is missing is made, and noted in implied_.
Result<InodeId> LayerTree::MakeParents(const TarEntry& entry,
                                       std::span<const std::string_view> names) {
  if (names.empty()) return kRoot;
  // As the entry has it, up to the last of them.
  const char* const begin = entry.name.data();
  const auto path_bytes = static_cast<size_t>(names.back().data() + names.back().size() - begin);
  const std::string_view path(begin, path_bytes);
  if (parents_ != kNoId && path == parents_path_) return parents_;
  Position position;
  const Status walked = Walk(entry.name, names, position);
  if (!walked.ok()) return walked.failure();
  InodeId directory = position.directory;
  for (const std::string_view name : position.missing) {
    Result<PlaceId> place = MakePlace(entry.name, directory, name);
    if (!place.ok()) return place.failure();
    directory = MakeDirectory(place.value());
    implied_.push_back(directory);
  }
  parents_ = position.by_link ? kNoId : directory;
  if (!position.by_link) parents_path_ = path;
  return directory;
}

Status LayerTree::CheckLimits(const TarEntry& entry) const {
  if (entries_ > limits_.max_entries || inodes_.size() > limits_.max_entries + 1) {
    return Refuse("LIMIT_EXCEEDED", "The layer has more than " +
                                        std::to_string(limits_.max_entries) +
                                        " entries (limit \"maxEntries\")");
  }
  uint64_t size = bytes_.kept_bytes() + entry.name.size() + entry.link.size() +
                  entry.runs.size() * sizeof(DataRun);
  for (const auto& [name, value] : entry.xattrs) size += name.size() + value.size();
  if (size > limits_.max_metadata_bytes) {
    return Refuse("LIMIT_EXCEEDED", "Names, links and xattrs of the layer take more than " +
                                        std::to_string(limits_.max_metadata_bytes) +
                                        " bytes (limit \"maxMetadataBytes\")");
  }
  return Done{};
}

// A sparse file of a few bytes of tar may take much room for its chunk table and the copies of
// pieces that lie on no boundary: bounded for the layer as a whole.
Status LayerTree::CheckSparse(const TarEntry& entry) {
  if (entry.type != EntryType::kFile || entry.size == 0 || IsOneRun(entry)) return Done{};
  uint64_t data_bytes = 0;
  for (const DataRun& run : entry.runs) data_bytes += run.length;
  const uint64_t cost = PlanSparseFile(entry.size, entry.runs).CostBytes();
  sparse_overhead_bytes_ += cost - std::min(cost, data_bytes);
  if (sparse_overhead_bytes_ > kMaxSparseOverheadBytes) {
    return Refuse("LIMIT_EXCEEDED", "Entry " + QuoteName(entry.name) +
                                        ": the sparse files of the layer need more than 4 GiB "
                                        "besides their data");
  }
  return Done{};
}

Result<LayerChange> LayerTree::Add(TarEntry& entry) {
  ++entries_;
  implied_.clear();
  const Status limits = CheckLimits(entry);
  if (!limits.ok()) return limits.failure();
  const Status split = SplitEntryName(entry.name, name_);
  if (!split.ok()) return split.failure();
  LayerChange change;
  if (name_.kind == NameKind::kIgnored) return change;
  if (name_.kind != NameKind::kPlain) {
    const Status added = AddWhiteout(entry);
    if (!added.ok()) return added.failure();
    change.implied = implied_;
    return change;
  }
  const Status checked = CheckEntry(entry);
  if (!checked.ok()) return checked.failure();
  const Status sparse = CheckSparse(entry);
  if (!sparse.ok()) return sparse.failure();
  if (name_.components.empty()) {
    const Status set = SetRoot(entry);
    if (!set.ok()) return set.failure();
    return change;
  }

  const std::span<const std::string_view> names = name_.components;
  Result<InodeId> parent = MakeParents(entry, names.first(names.size() - 1));
  if (!parent.ok()) return parent.failure();
  Result<PlaceId> place = MakePlace(entry.name, parent.value(), names.back());
  if (!place.ok()) return place.failure();
  change.implied = implied_;
  change.place = place.value();
  if (entry.type == EntryType::kHardLink) return AddHardLink(entry, place.value(), change);

  const InodeId before = places_[change.place].inode;
  const bool is_directory = entry.type == EntryType::kDirectory;
  if (is_directory && before != kNoId && inodes_[before].type == EntryType::kDirectory) {
    Describe(entry, inodes_[before]);
    return change;
  }
  change.kind = LayerChange::Kind::kInode;
  change.displaced = before != kNoId;
  if (change.displaced) parents_ = kNoId;
  const InodeId made = is_directory ? MakeDirectory(change.place) : MakeInode(entry.type);
  places_[change.place].inode = made;
  inodes_[made].opaque = is_directory && change.displaced;
  Describe(entry, inodes_[made]);
  return change;
}

Status LayerTree::SetRoot(const TarEntry& entry) {
  if (entry.type != EntryType::kDirectory) {
    return RefuseEntry(entry.name, "the root can only be a directory");
  }
  Describe(entry, inodes_[kRoot]);
  return Done{};
}

Status LayerTree::AddWhiteout(const TarEntry& entry) {
  std::span<const std::string_view> names = name_.components;
  if (name_.kind == NameKind::kWhiteout) names = names.first(names.size() - 1);
  Result<InodeId> directory = MakeParents(entry, names);
  if (!directory.ok()) return directory.failure();
  if (name_.kind == NameKind::kOpaque) {
    inodes_[directory.value()].opaque = true;
    return Done{};
  }
  Result<PlaceId> place = MakePlace(entry.name, directory.value(), name_.components.back());
  if (!place.ok()) return place.failure();
  places_[place.value()].whiteout = true;
  return Done{};
}

Result<LayerChange> LayerTree::AddHardLink(const TarEntry& entry, PlaceId place,
                                           LayerChange change) {
  EntryName target_name;
  const Status split = SplitEntryName(entry.link, target_name);
  const std::string link = "it is a hard link to " + QuoteName(entry.link);
  if (!split.ok()) return RefuseEntry(entry.name, link + ", which no file of the image can have");
  const std::span<const std::string_view> names = target_name.components;
  if (names.empty() || target_name.kind != NameKind::kPlain) {
    return RefuseEntry(entry.name, link + ", which is not a file");
  }
  Position position;
  const Status walked = Walk(entry.name, names.first(names.size() - 1), position);
  if (!walked.ok()) return walked.failure();
  const PlaceId target = position.missing.empty() ? Find(position.directory, names.back()) : kNoId;
  const InodeId inode = target == kNoId ? kNoId : places_[target].inode;
  if (inode == kNoId) {
    return RefuseEntry(entry.name, link + ", which this layer does not contain before it");
  }
  if (inodes_[inode].type == EntryType::kDirectory) {
    return RefuseEntry(entry.name, link + ", which is a directory");
  }
  if (places_[place].inode == inode) return change;  // already a name of this file
  change.kind = LayerChange::Kind::kHardLink;
  change.displaced = places_[place].inode != kNoId;
  if (change.displaced) parents_ = kNoId;
  change.target = target;
  places_[place].inode = inode;
  return change;
}

// Takes the attributes of a checked entry over. For a directory listed again they replace the
// earlier ones.
void LayerTree::Describe(const TarEntry& entry, LayerInode& inode) {
  inode.listed = true;
  inode.mode = static_cast<uint16_t>(entry.type == EntryType::kSymlink ? 0777 : entry.mode);
  inode.uid = entry.uid;
  inode.gid = entry.gid;
  inode.mtime_seconds = entry.mtime_seconds;
  inode.mtime_nanos = entry.mtime_nanos;
  std::string encoded;
  for (const auto& [name, value] : entry.xattrs) AppendXattr(name, value, encoded);
  KeepXattrs(encoded, inode);
  switch (entry.type) {
    case EntryType::kFile: {
      inode.size = entry.size;
      if (entry.size == 0 || IsOneRun(entry)) {
        inode.tar_offset = entry.size > 0 ? entry.runs[0].tar_offset : 0;
        break;
      }
      inode.tar_offset = LayerInode::kScattered;
      inode.text = bytes_.Keep(
          {reinterpret_cast<const char*>(entry.runs.data()), entry.runs.size() * sizeof(DataRun)},
          alignof(DataRun));
      inode.text_bytes = static_cast<uint32_t>(entry.runs.size());
      break;
    }
    case EntryType::kSymlink:
      inode.text = bytes_.Keep(entry.link);
      inode.text_bytes = static_cast<uint32_t>(entry.link.size());
      inode.size = entry.link.size();
      break;
    case EntryType::kCharacter:
    case EntryType::kBlock:
      inode.device_or_child = entry.device_major << 20 | entry.device_minor;
      break;
    case EntryType::kHardLink:
    case EntryType::kDirectory:
    case EntryType::kFifo:
      break;
  }
}

void LayerTree::KeepXattrs(const std::string& encoded, LayerInode& inode) {
  inode.xattrs = bytes_.Keep(encoded);
  inode.xattr_bytes = static_cast<uint32_t>(encoded.size());
}

void LayerTree::AddMark(std::string_view name, std::string_view value, LayerInode& inode) {
  std::string encoded(inode.xattrs, inode.xattr_bytes);
  AppendXattr(name, value, encoded);
  KeepXattrs(encoded, inode);
}

void LayerTree::SortChildren(InodeId directory, std::vector<PlaceId>& children) {
  children.clear();
  for (PlaceId id = inodes_[directory].device_or_child; id != kNoId; id = places_[id].next) {
    children.push_back(id);
  }
  // string_view compares bytes as unsigned, which is what EROFS wants.
  std::sort(children.begin(), children.end(),
            [this](PlaceId a, PlaceId b) { return places_[a].Name() < places_[b].Name(); });
  PlaceId next = kNoId;
  for (auto child = children.rbegin(); child != children.rend(); ++child) {
    places_[*child].next = next;
    next = *child;
  }
  inodes_[directory].device_or_child = next;
}

const std::vector<InodeId>& LayerTree::Arrange() {
  // The index is not needed any more; its memory is for the order.
  index_ = {};
  for (LayerInode& inode : inodes_) inode.links = 0;
  order_.clear();
  order_.push_back(kRoot);
  inodes_[kRoot].links = 2;
  std::vector<PlaceId> children;
  // Breadth first: order_ is its own queue.
  for (size_t at = 0; at < order_.size(); ++at) {
    const InodeId directory = order_[at];
    if (inodes_[directory].type != EntryType::kDirectory) continue;
    if (inodes_[directory].opaque) AddMark("trusted.overlay.opaque", "y", inodes_[directory]);
    SortChildren(directory, children);
    bool has_whiteouts = false;
    for (const PlaceId child : children) {
      LayerPlace& place = places_[child];
      if (place.inode == kNoId) {
        place.inode = MakeWhiteout();
        has_whiteouts = true;
      }
      LayerInode& inode = inodes_[place.inode];
      if (inode.type == EntryType::kDirectory) {
        // Not opaque below something that this layer removed would show what it removed.
        inode.opaque = inode.opaque || place.whiteout;
        ++inodes_[directory].links;
        inode.links = 2;
        order_.push_back(place.inode);
      } else if (inode.links++ == 0) {
        order_.push_back(place.inode);
      }
    }
    if (has_whiteouts) AddMark("trusted.overlay.origin", {}, inodes_[directory]);
  }
  return order_;
}

std::string LayerTree::PathOf(PlaceId id) const {
  std::vector<std::string_view> names;
  for (; id != kNoId; id = inodes_[places_[id].parent].place) names.push_back(places_[id].Name());
  std::string path;
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    if (!path.empty()) path += '/';
    path += *name;
  }
  return path;
}

std::vector<std::string> LayerTree::ImpliedDirectories() const {
  std::vector<std::string> paths;
  for (const InodeId id : order_) {
    const LayerInode& inode = inodes_[id];
    if (inode.type == EntryType::kDirectory && !inode.listed) paths.push_back(PathOf(inode.place));
  }
  return paths;
}

}  // namespace cais
