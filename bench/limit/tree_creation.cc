#include "tree_creation.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

namespace {

// The reading time of a new file is now; only the modification time is in the tar.
void SetTimes(int directory_fd, const std::string& name, const timespec& modified) {
  const timespec times[2] = {{0, UTIME_OMIT}, modified};
  if (utimensat(directory_fd, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
    Fail("cannot set the times of \"" + name + "\"");
  }
}

void CreateFile(int directory_fd, const Leaf& leaf) {
  const Attributes& attributes = leaf.attributes;
  const int fd = openat(directory_fd, leaf.name.c_str(),
                        O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, attributes.mode);
  if (fd < 0) Fail("cannot create \"" + leaf.name + "\"");
  WriteAll(fd, leaf.data);
  if (attributes.uid != 0 || attributes.gid != 0) {
    if (fchown(fd, attributes.uid, attributes.gid) != 0) Fail("cannot chown \"" + leaf.name + "\"");
    // A change of the owner takes these bits away.
    if ((attributes.mode & 06000) != 0) (void)fchmod(fd, attributes.mode);
  }
  for (const auto& [key, value] : attributes.xattrs) {
    if (fsetxattr(fd, key.c_str(), value.data(), value.size(), 0) != 0) Fail("cannot set " + key);
  }
  const timespec times[2] = {{0, UTIME_OMIT}, attributes.modified};
  if (futimens(fd, times) != 0) Fail("cannot set the times of \"" + leaf.name + "\"");
  close(fd);
}

void CreateLeaf(int directory_fd, const Leaf& leaf) {
  if (leaf.type == '0') return CreateFile(directory_fd, leaf);
  const Attributes& attributes = leaf.attributes;
  const char* name = leaf.name.c_str();
  int result = 0;
  if (leaf.type == '2') {
    result = symlinkat(leaf.target.c_str(), directory_fd, name);
  } else {
    const mode_t type = leaf.type == '3' ? S_IFCHR : leaf.type == '4' ? S_IFBLK : S_IFIFO;
    result = mknodat(directory_fd, name, type | attributes.mode, attributes.device);
  }
  if (result != 0) Fail("cannot create \"" + leaf.name + "\"");
  if ((attributes.uid != 0 || attributes.gid != 0) &&
      fchownat(directory_fd, name, attributes.uid, attributes.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    Fail("cannot chown \"" + leaf.name + "\"");
  }
  SetTimes(directory_fd, leaf.name, attributes.modified);
}

class Creation {
 public:
  Creation(const Tree& tree, int root_fd) : tree_(tree), fds_(tree.directories.size(), -1) {
    fds_[0] = root_fd;
  }

  void Run(int threads) {
    std::thread second;
    if (threads == 2) second = std::thread([this] { FillDirectories(); });
    MakeDirectories();
    FillDirectories();
    if (second.joinable()) second.join();
    LinkFiles();
    FinishDirectories();
  }

 private:
  void MakeDirectories() {
    for (size_t i = 1; i < fds_.size(); ++i) {
      const Directory& directory = tree_.directories[i];
      const int parent_fd = fds_[directory.parent];
      const char* name = directory.name.c_str();
      if (mkdirat(parent_fd, name, directory.attributes.mode) != 0) {
        Fail("cannot make the directory \"" + directory.name + "\"");
      }
      fds_[i] = openat(parent_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (fds_[i] < 0) Fail("cannot open the directory \"" + directory.name + "\"");
      made_.store(i + 1, std::memory_order_release);
    }
  }

  void FillDirectories() {
    for (size_t i = next_.fetch_add(1); i < fds_.size(); i = next_.fetch_add(1)) {
      // Making a directory is much quicker than filling one, so this hardly ever waits.
      while (made_.load(std::memory_order_acquire) <= i) std::this_thread::yield();
      for (const Leaf& leaf : tree_.directories[i].leaves) CreateLeaf(fds_[i], leaf);
    }
  }

  void LinkFiles() {
    for (const HardLink& link : tree_.links) {
      if (linkat(fds_[link.target_directory], link.target_name.c_str(), fds_[link.directory],
                 link.name.c_str(), 0) != 0) {
        Fail("cannot link \"" + link.name + "\"");
      }
    }
  }

  // From the last to the first: a directory's time must not change any more once it is set.
  void FinishDirectories() {
    for (size_t i = fds_.size() - 1; i > 0; --i) {
      const Directory& directory = tree_.directories[i];
      const Attributes& attributes = directory.attributes;
      const int parent_fd = fds_[directory.parent];
      const char* name = directory.name.c_str();
      if (attributes.uid != 0 || attributes.gid != 0) {
        if (fchownat(parent_fd, name, attributes.uid, attributes.gid, AT_SYMLINK_NOFOLLOW) != 0) {
          Fail("cannot chown \"" + directory.name + "\"");
        }
      }
      // mkdir leaves set-id and sticky bits out or not, as the file system likes.
      if ((attributes.mode & 07000) != 0) (void)fchmodat(parent_fd, name, attributes.mode, 0);
      for (const auto& [key, value] : attributes.xattrs) {
        const std::string path = "/proc/self/fd/" + std::to_string(fds_[i]);
        if (setxattr(path.c_str(), key.c_str(), value.data(), value.size(), 0) != 0) {
          Fail("cannot set " + key);
        }
      }
      SetTimes(parent_fd, directory.name, attributes.modified);
      close(fds_[i]);
    }
  }

  const Tree& tree_;
  std::vector<int> fds_;
  std::atomic<size_t> made_ = 1;
  std::atomic<size_t> next_ = 0;
};

}  // namespace

Stopwatch MeasureCreation(const Tree& tree, const std::string& path, int threads) {
  // One descriptor for each directory, and some for the rest.
  const rlim_t needed = tree.directories.size() + 64;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < needed) {
    limit.rlim_cur = needed;
    limit.rlim_max = std::max(limit.rlim_max, needed);
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) Fail("cannot raise the limit of open files");
  }
  umask(0);
  if (mkdir(path.c_str(), 0755) != 0) Fail("cannot make \"" + path + "\"");
  const int root_fd = open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root_fd < 0) Fail("cannot open \"" + path + "\"");
  Creation creation(tree, root_fd);
  Stopwatch watch;
  watch.Start();
  creation.Run(threads);
  watch.Stop();
  close(root_fd);
  return watch;
}
