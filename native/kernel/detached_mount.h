#pragma once

#include <cstdint>
#include <string>

#include "kernel/result.h"
#include "kernel/unique_fd.h"

namespace cais {

// Mounts as descriptors (Linux 5.12): a mount is made or cloned, given its attributes, and then put
// on a directory or file that is held open. No path is walked twice, so nobody can swap one
// between.

// A new file system. `options`: `a=b,c`, as for mount(8); `attributes`: MOUNT_ATTR_*.
Result<UniqueFd> MakeFilesystem(const std::string& type, const std::string& options,
                                uint64_t attributes);

// A clone of the mount at `fd`/`path` (`path` may be empty): a bind mount not yet put anywhere. The
// source must be a mount of the caller's mount namespace.
struct CloneOptions {
  bool recursive = false;
  bool follow_links = true;
};
Result<UniqueFd> CloneMount(int fd, const std::string& path, const CloneOptions& options);

// Sets MOUNT_ATTR_* bits and, when not 0, the propagation (MS_PRIVATE, MS_SLAVE, …). How access
// times are kept is one value of several bits: with MOUNT_ATTR__ATIME in `clear` what is set takes
// the place of what was (nothing set: relatime).
struct MountAttributes {
  uint64_t set = 0;
  uint64_t clear = 0;
  uint64_t propagation = 0;
  // Not -1: the ids of the files are seen through the maps of this user namespace (an idmapped
  // mount). The mount must be a fresh clone, and its file system must know how.
  int user_namespace_fd = -1;
  bool recursive = false;
};
Status SetMountAttributes(int mount_fd, const MountAttributes& attributes);

// Puts a detached mount on what `target_fd` holds open.
Status AttachMount(int mount_fd, int target_fd);

// MOUNT_ATTR_* for the bits of mount(2).
uint64_t AttributesOfFlags(uint64_t ms_flags);

// The same for an existing mount, whose way of keeping access times is replaced when the bits name
// one.
MountAttributes ChangesOfFlags(uint64_t ms_flags);

}  // namespace cais
