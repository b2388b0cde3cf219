#include "layer/layer_chain.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>

#include "layer/entry_rules.h"

namespace cais {
namespace {

constexpr char kOpaqueXattr[] = "trusted.overlay.opaque";

// xattr calls refuse O_PATH descriptors, but not this name of what they stand for.
std::string PathOfDescriptor(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

Result<std::string> ReadXattr(const std::string& path, const char* name) {
  // The kernel's largest value is 64 KiB.
  std::string value(65536, '\0');
  const ssize_t size = ::getxattr(path.c_str(), name, value.data(), value.size());
  if (size < 0) return Errno("getxattr", name);
  value.resize(static_cast<size_t>(size));
  return value;
}

Status ReadXattrs(int fd, TarEntry& entry) {
  const std::string path = PathOfDescriptor(fd);
  std::string names(65536, '\0');
  const ssize_t size = ::listxattr(path.c_str(), names.data(), names.size());
  if (size < 0 && errno == EOPNOTSUPP) return Done{};
  if (size < 0) return Errno("listxattr");
  names.resize(static_cast<size_t>(size));
  for (size_t start = 0; start < names.size();) {
    const std::string name(names.c_str() + start);
    start += name.size() + 1;
    Result<std::string> value = ReadXattr(path, name.c_str());
    if (!value.ok()) return value.failure();
    entry.xattrs.emplace_back(name, std::move(value.value()));
  }
  return Done{};
}

EntryType TypeOf(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return EntryType::kDirectory;
    case S_IFLNK:
      return EntryType::kSymlink;
    case S_IFCHR:
      return EntryType::kCharacter;
    case S_IFBLK:
      return EntryType::kBlock;
    case S_IFIFO:
      return EntryType::kFifo;
    default:
      return EntryType::kFile;
  }
}

}  // namespace

Result<bool> IsOpaque(int fd) {
  char value[2];
  const ssize_t size = ::getxattr(PathOfDescriptor(fd).c_str(), kOpaqueXattr, value, sizeof value);
  if (size < 0 && errno != ENODATA && errno != EOPNOTSUPP) return Errno("getxattr", kOpaqueXattr);
  return size == 1 && value[0] == 'y';
}

Result<LayerLookup> LookUp(const ChainLayer& layer, std::string_view path) {
  LayerLookup result;
  result.fd.Reset(::openat(layer.fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!result.fd) return Errno("openat", "/");
  if (::fstat(result.fd.get(), &result.status) != 0) return Errno("fstat", "/");
  for (size_t start = 0;;) {
    ++result.steps;
    if (!S_ISDIR(result.status.st_mode)) {
      result.hides_below = true;
      if (start < path.size()) result.fd.Reset();
      return result;
    }
    Result<bool> opaque = IsOpaque(result.fd.get());
    if (!opaque.ok()) return opaque.failure();
    result.hides_below = result.hides_below || opaque.value();
    if (start >= path.size()) return result;
    const size_t end = std::min(path.find('/', start), path.size());
    const std::string name(path.substr(start, end - start));
    start = end + 1;
    UniqueFd next(::openat(result.fd.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!next && errno != ENOENT) return Errno("openat", std::string(path));
    result.fd = std::move(next);
    if (!result.fd) return result;
    if (::fstat(result.fd.get(), &result.status) != 0) return Errno("fstat", std::string(path));
  }
}

Result<TarEntry> DescribeObject(int fd, const struct stat& status) {
  TarEntry entry;
  entry.type = TypeOf(status.st_mode);
  entry.mode = status.st_mode & 07777;
  entry.uid = status.st_uid;
  entry.gid = status.st_gid;
  entry.mtime_seconds = status.st_mtim.tv_sec;
  entry.mtime_nanos = static_cast<uint32_t>(status.st_mtim.tv_nsec);
  entry.device_major = major(status.st_rdev);
  entry.device_minor = minor(status.st_rdev);
  if (entry.type == EntryType::kFile) entry.size = static_cast<uint64_t>(status.st_size);
  if (entry.type == EntryType::kSymlink) {
    entry.link.resize(kMaxLinkTargetBytes + 1);
    const ssize_t size = ::readlinkat(fd, "", entry.link.data(), entry.link.size());
    if (size < 0) return Errno("readlinkat");
    entry.link.resize(static_cast<size_t>(size));
  }
  const Status read = ReadXattrs(fd, entry);
  if (!read.ok()) return read.failure();
  return entry;
}

}  // namespace cais
