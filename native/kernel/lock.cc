#include "kernel/lock.h"

#include <fcntl.h>
#include <sys/file.h>

namespace cais {

Result<UniqueFd> OpenLockFile(const std::string& path) {
  UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return Errno("open lock file", path);
  return file;
}

Result<bool> TryLock(int fd, LockMode mode) {
  const int operation = (mode == LockMode::kExclusive ? LOCK_EX : LOCK_SH) | LOCK_NB;
  while (flock(fd, operation) != 0) {
    if (errno == EWOULDBLOCK) return false;
    if (errno != EINTR) return Errno("flock");
  }
  return true;
}

}  // namespace cais
