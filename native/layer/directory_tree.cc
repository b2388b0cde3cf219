#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "kernel/unique_fd.h"
#include "layer/directory_cache.h"
#include "layer/disk_reserve.h"
#include "layer/file_creator.h"
#include "layer/layer_end.h"
#include "layer/layer_tree.h"
#include "layer/preallocation.h"
#include "layer/private_umask.h"

namespace cais {
namespace {

// What a file costs on the disk besides its data, roughly.
constexpr uint64_t kEntryBytes = 4096;
constexpr uint64_t kBlockBytes = 4096;

// What open and mkdir are given; other bits come later, if at all.
constexpr mode_t kPermissions = 0777;
constexpr mode_t kDirectoryMode = 0755;
constexpr mode_t kRootMode = 0700;

// Without the set-group-ID bit, group or access control list of the directory above, which every
// file below would inherit.
Status MakePlain(int root_fd) {
  if (::fchown(root_fd, ::geteuid(), ::getegid()) != 0) return Errno("fchown", "layer");
  if (::fchmod(root_fd, kRootMode) != 0) return Errno("fchmod", "layer");
  for (const char* acl : {"system.posix_acl_default", "system.posix_acl_access"}) {
    if (::fremovexattr(root_fd, acl) != 0 && errno != ENODATA && errno != EOPNOTSUPP) {
      return Errno("fremovexattr", "layer");
    }
  }
  return Done{};
}

// Larger files are written as they come, by the thread that reads the tar.
constexpr uint64_t kMaxHandedOverBytes = 128 << 10;
// From here on it pays to allocate blocks ahead.
constexpr uint64_t kLargeBytes = 4 << 20;

uint64_t BlocksOf(uint64_t bytes) { return (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes; }

std::pair<timespec, timespec> TimesOf(const LayerInode& inode) {
  timespec time{};
  time.tv_sec = inode.mtime_seconds;
  time.tv_nsec = inode.mtime_nanos;
  return {time, time};
}

// The directory form: a tree "layer" in the private directory of the job. Names are decided by
// LayerTree; the kernel sees one component at a time, below descriptors of directories that this
// object has made. A directory that a later entry displaces is moved to "discarded" beside it.
//
// Creating a file is what costs most, so no system call is made that would change nothing: files
// come into the world with their mode, and owner and mode are set only where they differ. Nobody
// sees them meanwhile, since the directory of the job is private. Directories get their attributes
// in Finish, so that nothing written later changes their times.
class DirectoryTree final : public LayerEnd {
 public:
  DirectoryTree(int job_fd, std::shared_ptr<UniqueFd> root, const EndLimits& limits,
                Workers* workers)
      : job_fd_(job_fd),
        tree_(limits),
        root_(root),
        directories_(tree_, root),
        reserve_(root->get(), limits.reserve_bytes) {
    if (workers != nullptr) creator_.emplace(*workers);
  }

  void Keep(const std::shared_ptr<const void>& owner) override { owner_ = owner; }

  void Release() override {
    owner_.reset();
    if (creator_) creator_->Flush();
  }

  // Called for each piece of the tar, before anything in it.
  Status TarBytes(std::string_view) override {
    return creator_ ? Named(creator_->NextOwner()) : Done{};
  }

  Status Entry(TarEntry entry) override {
    Result<LayerChange> added = tree_.Add(entry);
    if (!added.ok()) return added.failure();
    const LayerChange& change = added.value();
    const Status reserved = reserve_.Take(kEntryBytes * (1 + change.implied.size()));
    if (!reserved.ok()) return reserved;
    for (const InodeId directory : change.implied) {
      const Status made = MakeDirectory(tree_.inode(directory).place);
      if (!made.ok()) return made;
    }
    if (change.displaced || change.kind == LayerChange::Kind::kHardLink) {
      // What it is about may be in the hands of a creator.
      if (const Status drained = Drain(); !drained.ok()) return drained;
    }
    if (change.displaced) {
      const Status discarded = Discard(change.place);
      if (!discarded.ok()) return discarded;
    }
    switch (change.kind) {
      case LayerChange::Kind::kNone:
        return Done{};
      case LayerChange::Kind::kHardLink:
        return MakeHardLink(change);
      case LayerChange::Kind::kInode:
        return MakeInode(change.place);
    }
    return Done{};
  }

  Status FileData(uint64_t file_offset, std::string_view bytes) override {
    // Data of something that is not made.
    if (file_place_ == kNoId) return Done{};
    const Status reserved = reserve_.Take(bytes.size());
    if (!reserved.ok()) return reserved;
    if (!file_) {
      const LayerInode& inode = tree_.inode(tree_.place(file_place_).inode);
      const bool whole = file_offset == 0 && bytes.size() == inode.size;
      if (whole && creator_ && owner_ != nullptr && bytes.size() <= kMaxHandedOverBytes &&
          inode.xattr_bytes == 0) {
        return HandOver(bytes);
      }
      if (const Status opened = OpenFile(); !opened.ok()) return opened;
    }
    if (allocation_) allocation_->Cover(file_offset + bytes.size());
    while (!bytes.empty()) {
      const ssize_t written =
          ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(file_offset));
      if (written < 0) {
        if (errno == EINTR) continue;
        return Errno("pwrite", tree_.PathOf(file_place_));
      }
      bytes.remove_prefix(static_cast<size_t>(written));
      file_offset += static_cast<uint64_t>(written);
    }
    file_end_ = std::max(file_end_, file_offset);
    return Done{};
  }

  Status EndEntry() override {
    if (file_place_ == kNoId) return Done{};
    // An empty file, or one that is nothing but a hole.
    if (!file_) {
      if (const Status opened = OpenFile(); !opened.ok()) return opened;
    }
    const LayerInode& inode = tree_.inode(tree_.place(file_place_).inode);
    if (allocation_) allocation_->Trim(inode.size);
    allocation_.reset();
    // A hole at the end of a sparse file.
    if (inode.size > file_end_ && ::ftruncate(file_.get(), static_cast<off_t>(inode.size)) != 0) {
      return Errno("ftruncate", tree_.PathOf(file_place_));
    }
    const Status counted = CountBytes(inode);
    if (!counted.ok()) return counted;
    const Status described = DescribeOpen(file_.get(), inode, file_place_, Created(inode.mode));
    file_.Reset();
    file_place_ = kNoId;
    return described;
  }

  Result<EndSummary> Finish() override {
    if (const Status drained = Drain(); !drained.ok()) return drained.failure();
    const std::vector<InodeId>& order = tree_.Arrange();
    // Directories come before what is in them; the other way round each is complete when it gets
    // its time.
    for (auto id = order.rbegin(); id != order.rend(); ++id) {
      if (tree_.inode(*id).type != EntryType::kDirectory) continue;
      const Status finished = FinishDirectory(*id);
      if (!finished.ok()) return finished.failure();
    }
    if (const Status drained = Drain(); !drained.ok()) return drained.failure();
    return EndSummary{tree_.entries(), layer_bytes_, tree_.ImpliedDirectories()};
  }

 private:
  Status MakeDirectory(PlaceId id) {
    const LayerPlace& place = tree_.place(id);
    Result<std::shared_ptr<UniqueFd>> parent = directories_.Open(place.parent);
    if (!parent.ok()) return parent.failure();
    const std::string name(place.Name());
    if (::mkdirat(parent.value()->get(), name.c_str(), kDirectoryMode) != 0) {
      return Errno("mkdirat", tree_.PathOf(id));
    }
    layer_bytes_ += kEntryBytes;
    return Done{};
  }

  Status MakeInode(PlaceId id) {
    const LayerPlace& place = tree_.place(id);
    const LayerInode& inode = tree_.inode(place.inode);
    if (inode.type == EntryType::kDirectory) return MakeDirectory(id);
    Result<std::shared_ptr<UniqueFd>> parent = directories_.Open(place.parent);
    if (!parent.ok()) return parent.failure();
    const int parent_fd = parent.value()->get();
    const std::string name(place.Name());
    switch (inode.type) {
      case EntryType::kFile:
        // Made with its first data, which may be all of it.
        file_place_ = id;
        file_end_ = 0;
        return Done{};
      case EntryType::kSymlink:
        if (::symlinkat(std::string(LayerTree::LinkTarget(inode)).c_str(), parent_fd,
                        name.c_str()) != 0) {
          return Errno("symlinkat", tree_.PathOf(id));
        }
        break;
      default: {
        const Status made = MakeNode(parent_fd, id);
        if (!made.ok()) return made;
        break;
      }
    }
    return DescribeClosed(parent_fd, id);
  }

  Status OpenFile() {
    const LayerPlace& place = tree_.place(file_place_);
    Result<std::shared_ptr<UniqueFd>> parent = directories_.Open(place.parent);
    if (!parent.ok()) return parent.failure();
    file_.Reset(::openat(parent.value()->get(), std::string(place.Name()).c_str(),
                         O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                         tree_.inode(place.inode).mode & kPermissions));
    if (!file_) return Errno("openat", tree_.PathOf(file_place_));
    const LayerInode& inode = tree_.inode(place.inode);
    allocation_.reset();
    if (inode.size >= kLargeBytes && inode.tar_offset != LayerInode::kScattered) {
      allocation_.emplace(file_.get());
    }
    return Done{};
  }

  // Gives the current file, whose data is all there, to a creator.
  Status HandOver(std::string_view data) {
    const PlaceId id = std::exchange(file_place_, kNoId);
    const LayerPlace& place = tree_.place(id);
    const LayerInode& inode = tree_.inode(place.inode);
    Result<std::shared_ptr<UniqueFd>> parent = directories_.Open(place.parent);
    if (!parent.ok()) return parent.failure();
    layer_bytes_ += BlocksOf(inode.size);
    creator_->Add(place.parent, owner_,
                  {std::move(parent.value()), std::string(place.Name()), data, inode.uid, inode.gid,
                   inode.mode, std::nullopt, TimesOf(inode).second, id});
    return Done{};
  }

  Status Drain() { return creator_ ? Named(creator_->Drain()) : Done{}; }

  Status Named(std::optional<FileFailure> failed) const {
    if (!failed) return Done{};
    failed->failure.path = tree_.PathOf(failed->place);
    return std::move(failed->failure);
  }

  Status MakeNode(int parent_fd, PlaceId id) {
    const LayerPlace& place = tree_.place(id);
    const LayerInode& inode = tree_.inode(place.inode);
    const mode_t mode = inode.mode & kPermissions;
    const bool fifo = inode.type == EntryType::kFifo;
    const mode_t type = fifo ? S_IFIFO : inode.type == EntryType::kCharacter ? S_IFCHR : S_IFBLK;
    const uint32_t device = fifo ? 0 : inode.device_or_child;
    if (::mknodat(parent_fd, std::string(place.Name()).c_str(), type | mode,
                  makedev(device >> 20, device & 0xfffff)) != 0) {
      return Errno("mknodat", tree_.PathOf(id));
    }
    return Done{};
  }

  Status MakeHardLink(const LayerChange& change) {
    const LayerPlace& from = tree_.place(change.target);
    const LayerPlace& to = tree_.place(change.place);
    Result<std::shared_ptr<UniqueFd>> from_parent = directories_.Open(from.parent);
    if (!from_parent.ok()) return from_parent.failure();
    Result<std::shared_ptr<UniqueFd>> to_parent = directories_.Open(to.parent);
    if (!to_parent.ok()) return to_parent.failure();
    // Without AT_SYMLINK_FOLLOW: a hard link to a symbolic link is one more name of the link.
    if (::linkat(from_parent.value()->get(), std::string(from.Name()).c_str(),
                 to_parent.value()->get(), std::string(to.Name()).c_str(), 0) != 0) {
      return Errno("linkat", tree_.PathOf(change.place));
    }
    return Done{};
  }

  // Takes what stands at a place out of the tree. A directory, which may be full of files, is moved
  // aside; of anything else the room is free at once.
  Status Discard(PlaceId id) {
    const LayerPlace& place = tree_.place(id);
    Result<std::shared_ptr<UniqueFd>> parent = directories_.Open(place.parent);
    if (!parent.ok()) return parent.failure();
    const std::string name(place.Name());
    if (::unlinkat(parent.value()->get(), name.c_str(), 0) == 0) return Done{};
    if (errno != EISDIR) return Errno("unlinkat", tree_.PathOf(id));
    if (!discarded_) {
      if (::mkdirat(job_fd_, "discarded", 0700) != 0) return Errno("mkdirat", "discarded");
      discarded_.Reset(
          ::openat(job_fd_, "discarded", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!discarded_) return Errno("openat", "discarded");
    }
    const std::string new_name = std::to_string(discarded_count_++);
    if (::renameat(parent.value()->get(), name.c_str(), discarded_.get(), new_name.c_str()) != 0) {
      return Errno("renameat", tree_.PathOf(id));
    }
    return Done{};
  }

  // Whiteouts, then the attributes: from here on nothing is made in this directory.
  Status FinishDirectory(InodeId id) {
    const bool listed_only = HasPlainChildren(id) && tree_.inode(id).xattr_bytes == 0;
    if (listed_only && id != LayerTree::kRoot) return FinishByName(id);
    Result<std::shared_ptr<UniqueFd>> fd = directories_.Open(id);
    if (!fd.ok()) return fd.failure();
    for (PlaceId child = tree_.FirstChild(id); child != kNoId; child = tree_.place(child).next) {
      if (!IsWhiteout(child)) continue;
      Status made = MakeNode(fd.value()->get(), child);
      if (made.ok()) made = DescribeClosed(fd.value()->get(), child);
      if (!made.ok()) return made;
    }
    return DescribeOpen(fd.value()->get(), tree_.inode(id), tree_.inode(id).place,
                        id == LayerTree::kRoot ? kRootMode : Created(kDirectoryMode));
  }

  // Most directories need not be opened again for their attributes.
  Status FinishByName(InodeId id) {
    const LayerInode& inode = tree_.inode(id);
    Result<std::shared_ptr<UniqueFd>> parent = directories_.Open(tree_.ParentOf(id));
    if (!parent.ok()) return parent.failure();
    if (!creator_) return DescribeClosed(parent.value()->get(), inode.place);
    const LayerPlace& place = tree_.place(inode.place);
    creator_->Add(place.parent, nullptr,
                  {std::move(parent.value()),
                   std::string(place.Name()),
                   {},
                   inode.uid,
                   inode.gid,
                   inode.mode,
                   Created(kDirectoryMode),
                   TimesOf(inode).second,
                   inode.place});
    return Done{};
  }

  bool IsWhiteout(PlaceId place) const {
    const LayerInode& inode = tree_.inode(tree_.place(place).inode);
    return inode.type == EntryType::kCharacter && inode.device_or_child == 0;
  }

  bool HasPlainChildren(InodeId directory) const {
    PlaceId child = tree_.FirstChild(directory);
    while (child != kNoId && !IsWhiteout(child)) child = tree_.place(child).next;
    return child == kNoId;
  }

  static mode_t Created(mode_t mode) { return PrivateUmask::Created(mode & kPermissions); }

  // What a file takes, without asking the file system: its blocks of data. A sparse file is asked
  // about.
  Status CountBytes(const LayerInode& inode) {
    if (inode.tar_offset != LayerInode::kScattered) {
      layer_bytes_ += BlocksOf(inode.size);
      return Done{};
    }
    struct stat status;
    if (::fstat(file_.get(), &status) != 0) return Errno("fstat", tree_.PathOf(file_place_));
    layer_bytes_ += static_cast<uint64_t>(status.st_blocks) * 512;
    return Done{};
  }

  bool IsOurs(const LayerInode& inode) const { return inode.uid == uid_ && inode.gid == gid_; }

  // Owner first, since chown takes setuid bits and capabilities away; time last. `mode` is the
  // present one.
  Status DescribeOpen(int fd, const LayerInode& inode, PlaceId place, mode_t mode) {
    if (!IsOurs(inode) && ::fchown(fd, inode.uid, inode.gid) != 0) {
      return Errno("fchown", tree_.PathOf(place));
    }
    if (inode.mode != mode && ::fchmod(fd, inode.mode) != 0) {
      return Errno("fchmod", tree_.PathOf(place));
    }
    const Status set = SetXattrs(inode, place, [fd](const char* name, std::string_view value) {
      return ::fsetxattr(fd, name, value.data(), value.size(), 0);
    });
    if (!set.ok()) return set;
    const auto [access, modification] = TimesOf(inode);
    const timespec times[] = {access, modification};
    if (::futimens(fd, times) != 0) return Errno("futimens", tree_.PathOf(place));
    return Done{};
  }

  // For what cannot be opened without side effects (links, devices, FIFOs), and directories.
  Status DescribeClosed(int parent_fd, PlaceId id) {
    const LayerPlace& place = tree_.place(id);
    const LayerInode& inode = tree_.inode(place.inode);
    const bool directory = inode.type == EntryType::kDirectory;
    const mode_t mode = Created(directory ? kDirectoryMode : inode.mode);
    const std::string name(place.Name());
    if (!IsOurs(inode) &&
        ::fchownat(parent_fd, name.c_str(), inode.uid, inode.gid, AT_SYMLINK_NOFOLLOW) != 0) {
      return Errno("fchownat", tree_.PathOf(id));
    }
    // Not AT_SYMLINK_NOFOLLOW, which old kernels lack: the name is ours and no link.
    if (inode.type != EntryType::kSymlink && inode.mode != mode &&
        ::fchmodat(parent_fd, name.c_str(), inode.mode, 0) != 0) {
      return Errno("fchmodat", tree_.PathOf(id));
    }
    // There is no setxattrat before Linux 6.13; the parent's descriptor stands for the path before
    // the name.
    const Status set = SetXattrs(inode, id, [&](const char* xattr, std::string_view value) {
      const std::string path = "/proc/self/fd/" + std::to_string(parent_fd) + "/" + name;
      return ::lsetxattr(path.c_str(), xattr, value.data(), value.size(), 0);
    });
    if (!set.ok()) return set;
    const auto [access, modification] = TimesOf(inode);
    const timespec times[] = {access, modification};
    if (::utimensat(parent_fd, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
      return Errno("utimensat", tree_.PathOf(id));
    }
    return Done{};
  }

  template <typename Set>
  Status SetXattrs(const LayerInode& inode, PlaceId place, Set set) {
    Status done = Done{};
    LayerTree::ReadXattrs(inode, [&](std::string_view name, std::string_view value) {
      if (!done.ok()) return;
      const std::string name_text(name);
      if (set(name_text.c_str(), value) == 0) return;
      const int error = errno;
      const std::string what =
          QuoteName(place == kNoId ? "/" : tree_.PathOf(place)) + ", xattr " + QuoteName(name);
      // ext4 keeps the xattrs of a file in one block and calls it a full disk when they do not fit.
      if (error == ENOSPC || error == E2BIG || error == ERANGE) {
        done = Refuse("LIMIT_EXCEEDED", "Entry " + what +
                                            ": the file system of the layers does "
                                            "not take xattrs of that size");
      } else {
        done = Failure{error, "setxattr", what, {}};
      }
    });
    return done;
  }

  int job_fd_;
  const uid_t uid_ = ::geteuid();
  const gid_t gid_ = ::getegid();
  LayerTree tree_;
  std::shared_ptr<UniqueFd> root_;
  DirectoryCache directories_;
  DiskReserve reserve_;
  UniqueFd discarded_;
  uint64_t discarded_count_ = 0;
  // The current entry, while it is a file that has not been handed over.
  UniqueFd file_;
  std::optional<Preallocation> allocation_;
  PlaceId file_place_ = kNoId;
  uint64_t file_end_ = 0;  // of what is written of it
  uint64_t layer_bytes_ = 0;

  // In whose memory the data lies, if it may be kept.
  std::shared_ptr<const void> owner_;
  // Last: it uses the directories. Null: everything is made by the caller.
  std::optional<FileCreator> creator_;
};

}  // namespace

Result<std::unique_ptr<LayerEnd>> OpenDirectoryTree(int directory_fd, const EndLimits& limits,
                                                    Workers* workers) {
  if (::mkdirat(directory_fd, "layer", kPermissions) != 0) return Errno("mkdirat", "layer");
  auto root = std::make_shared<UniqueFd>(
      ::openat(directory_fd, "layer", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!*root) return Errno("openat", "layer");
  if (Status made = MakePlain(root->get()); !made.ok()) return std::move(made.failure());
  return Result<std::unique_ptr<LayerEnd>>(
      std::make_unique<DirectoryTree>(directory_fd, std::move(root), limits, workers));
}

}  // namespace cais
