#include "kernel/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "kernel/syscalls.h"
#include "kernel/unique_fd.h"

namespace cais {

namespace {

// What is done with the entries of a tree. Names are relative to `directory_fd`.
class TreeVisitor {
 public:
  virtual ~TreeVisitor() = default;
  virtual Status Enter(int directory_fd) = 0;
  virtual Status File(int directory_fd, const std::string& name) = 0;
  virtual Status Leave(int parent_fd, const std::string& name) = 0;
};

struct Name {
  std::string text;
  bool directory;
};

// A directory on the way from the root of the walk to where it is.
struct Level {
  dev_t device;
  ino_t inode;
  std::string name;
  std::vector<Name> pending;
};

struct DirectoryCloser {
  void operator()(DIR* directory) const { (void)closedir(directory); }
};

Result<std::vector<Name>> ListDirectory(int directory_fd) {
  UniqueFd copy(openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!copy) return Errno("open directory");
  std::unique_ptr<DIR, DirectoryCloser> stream(fdopendir(copy.get()));
  if (stream == nullptr) return Errno("fdopendir");
  (void)copy.Release();
  std::vector<Name> names;
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(stream.get());
    if (entry == nullptr) {
      if (errno != 0) return Errno("readdir");
      return names;
    }
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    bool directory = entry->d_type == DT_DIR;
    if (entry->d_type == DT_UNKNOWN) {
      struct stat info = {};
      if (fstatat(directory_fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
      directory = S_ISDIR(info.st_mode);
    }
    names.push_back({std::move(name), directory});
  }
}

Result<UniqueFd> OpenBelow(int directory_fd, const std::string& name) {
  open_how how = {};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
  UniqueFd fd(OpenAt2(directory_fd, name.c_str(), how));
  if (!fd) return Errno("open directory", name);
  return fd;
}

// Depth first, below the open directory `current`.
Status Walk(UniqueFd current, TreeVisitor* visitor) {
  std::vector<Level> levels;
  auto enter = [&](std::string name) -> Status {
    struct stat info = {};
    if (fstat(current.get(), &info) != 0) return Errno("fstat", name);
    Status entered = visitor->Enter(current.get());
    if (!entered.ok()) return entered;
    Result<std::vector<Name>> names = ListDirectory(current.get());
    if (!names.ok()) return names.failure();
    levels.push_back({info.st_dev, info.st_ino, std::move(name), std::move(names.value())});
    return Done{};
  };
  Status entered = enter({});
  if (!entered.ok()) return entered;
  while (!levels.empty()) {
    if (!levels.back().pending.empty()) {
      const Name name = std::move(levels.back().pending.back());
      levels.back().pending.pop_back();
      if (!name.directory) {
        Status visited = visitor->File(current.get(), name.text);
        if (!visited.ok()) return visited;
        continue;
      }
      Result<UniqueFd> child = OpenBelow(current.get(), name.text);
      if (!child.ok()) {
        if (child.failure().error == ENOENT) continue;
        return child.failure();
      }
      current = std::move(child.value());
      entered = enter(name.text);
      if (!entered.ok()) return entered;
      continue;
    }
    const std::string name = std::move(levels.back().name);
    levels.pop_back();
    if (levels.empty()) return Done{};
    // Back to the parent, which must still be the one that the walk came from.
    UniqueFd parent(openat(current.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!parent) return Errno("open parent of", name);
    struct stat info = {};
    if (fstat(parent.get(), &info) != 0) return Errno("fstat parent of", name);
    if (info.st_dev != levels.back().device || info.st_ino != levels.back().inode) {
      return Failure{ESTALE, "return from directory", name, {}};
    }
    current = std::move(parent);
    Status left = visitor->Leave(current.get(), name);
    if (!left.ok()) return left;
  }
  return Done{};
}

// Clears the flags that forbid removing what is in a directory, or the directory or file itself.
void ClearProtection(int fd) {
  int flags = 0;
  if (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) return;
  if ((flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)) == 0) return;
  flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
  (void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

Status Unlink(int directory_fd, const std::string& name, int flags) {
  if (unlinkat(directory_fd, name.c_str(), flags) == 0 || errno == ENOENT) return Done{};
  if (errno != EPERM) return Errno("remove", name);
  ClearProtection(directory_fd);
  struct stat info = {};
  // Opening anything but a file or directory could have effects, and only those have the flags.
  if (fstatat(directory_fd, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 &&
      (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode))) {
    const UniqueFd fd(openat(directory_fd, name.c_str(),
                             O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (fd) ClearProtection(fd.get());
  }
  if (unlinkat(directory_fd, name.c_str(), flags) == 0 || errno == ENOENT) return Done{};
  return Errno("remove", name);
}

class Remover : public TreeVisitor {
 public:
  Status Enter(int) override { return Done{}; }
  Status File(int directory_fd, const std::string& name) override {
    return Unlink(directory_fd, name, 0);
  }
  Status Leave(int parent_fd, const std::string& name) override {
    return Unlink(parent_fd, name, AT_REMOVEDIR);
  }
};

class Meter : public TreeVisitor {
 public:
  Status Enter(int directory_fd) override {
    struct stat info = {};
    if (fstat(directory_fd, &info) != 0) return Errno("fstat");
    Count(info);
    return Done{};
  }
  Status File(int directory_fd, const std::string& name) override {
    struct stat info = {};
    if (fstatat(directory_fd, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return Done{};
      return Errno("stat", name);
    }
    if (info.st_nlink > 1 && !seen_.emplace(info.st_dev, info.st_ino).second) return Done{};
    Count(info);
    return Done{};
  }
  Status Leave(int, const std::string&) override { return Done{}; }
  TreeSize size() const { return size_; }

 private:
  void Count(const struct stat& info) {
    constexpr uint64_t kStatBlockBytes = 512;
    size_.bytes += static_cast<uint64_t>(info.st_blocks) * kStatBlockBytes;
    ++size_.inodes;
  }

  TreeSize size_;
  std::set<std::pair<dev_t, ino_t>> seen_;
};

// Failures deep in a tree know a name only; a person wants to know which tree.
Failure InTree(Failure failure, const std::string& path) {
  failure.path = failure.path.empty() || failure.path == path ? path : path + "/…/" + failure.path;
  return failure;
}

}  // namespace

Status RemoveTree(const std::string& path) {
  struct stat info = {};
  if (lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return Done{};
    return Errno("stat", path);
  }
  if (S_ISDIR(info.st_mode)) {
    UniqueFd root(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!root) {
      if (errno == ENOENT) return Done{};
      return Errno("open directory", path);
    }
    Remover remover;
    Status walked = Walk(std::move(root), &remover);
    if (!walked.ok()) return InTree(walked.failure(), path);
  }
  return Unlink(AT_FDCWD, path, S_ISDIR(info.st_mode) ? AT_REMOVEDIR : 0);
}

Result<TreeSize> MeasureTree(const std::string& path) {
  UniqueFd root(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!root) return Errno("open directory", path);
  Meter meter;
  Status walked = Walk(std::move(root), &meter);
  if (!walked.ok()) return InTree(walked.failure(), path);
  return meter.size();
}

}  // namespace cais
