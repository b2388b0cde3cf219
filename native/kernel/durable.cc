#include "kernel/durable.h"

#include <fcntl.h>
#include <unistd.h>

#include "kernel/unique_fd.h"

namespace cais {

Status SyncFile(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file) return Errno("open", path);
  if (fdatasync(file.get()) != 0) return Errno("fdatasync", path);
  const size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const UniqueFd directory(open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return Errno("open", parent);
  if (fsync(directory.get()) != 0) return Errno("fsync", parent);
  return Done{};
}

Status SyncFilesystem(const std::string& path) {
  const UniqueFd place(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!place) return Errno("open", path);
  if (syncfs(place.get()) != 0) return Errno("syncfs", path);
  return Done{};
}

}  // namespace cais
