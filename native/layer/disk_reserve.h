#pragma once

#include <sys/statvfs.h>

#include <cstdint>
#include <string>

#include "kernel/result.h"

namespace cais {

// A full disk is a matter of the file system, not of the file that met it: the failure then names
// `directory`, which the reader can find. Other failures stay as they are.
inline Failure NameFullDisk(Failure failure, const std::string& directory) {
  if (failure.error != ENOSPC && failure.error != EDQUOT) return failure;
  // DiskReserve says what it could not do, and names nothing.
  if (!failure.path.empty()) failure.step = "store the layer in";
  failure.path = directory;
  return failure;
}

// Stops a layer before it fills the disk: a bomb must not take the space that stop and remove need.
class DiskReserve {
 public:
  // `fd` is borrowed: any descriptor on the file system.
  DiskReserve(int fd, uint64_t reserve_bytes) : fd_(fd), reserve_bytes_(reserve_bytes) {}

  // Call before `size` bytes are written. Asks the kernel every 64 MiB only. Fails with ENOSPC.
  Status Take(uint64_t size) {
    if (size <= granted_bytes_) {
      granted_bytes_ -= size;
      return Done{};
    }
    struct statvfs stats;
    if (::fstatvfs(fd_, &stats) != 0) return Errno("fstatvfs");
    const uint64_t available = uint64_t{stats.f_bavail} * stats.f_frsize;
    if (available < reserve_bytes_ + size) {
      return Failure{ENOSPC,
                     "keep " + std::to_string(reserve_bytes_) + " bytes free beside the layer in",
                     {},
                     {}};
    }
    granted_bytes_ = kGrantBytes;
    return Done{};
  }

 private:
  static constexpr uint64_t kGrantBytes = 64 << 20;
  int fd_;
  uint64_t reserve_bytes_;
  uint64_t granted_bytes_ = 0;
};

}  // namespace cais
