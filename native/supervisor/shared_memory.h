#pragma once

#include <cstdint>

#include "kernel/mount_namespace.h"
#include "kernel/procfs.h"
#include "kernel/result.h"
#include "kernel/unique_fd.h"
#include "kernel/user_namespace.h"

namespace cais {

// The tmpfs that the containers of a sandbox share as /dev/shm. It is the root of a mount namespace
// of its own that holds nothing else: so it is in nobody's mount table and ends with its holder.
// (A detached mount alone would do from Linux 6.15 on; before, the kernel clones only attached
// ones.)
class SharedMemory {
 public:
  SharedMemory() = default;
  // Belongs to root of the pod, by `id_maps`. Returns with the caller where it was.
  static Result<SharedMemory> Make(const Procfs& procfs, int64_t size_bytes, const IdMaps& id_maps);

  // A detached clone of the mount. The caller's mount namespace changes meanwhile, and the caller
  // must go back by its own MountPlace.
  Result<UniqueFd> CloneAway() const;

 private:
  explicit SharedMemory(UniqueFd mount_namespace) : namespace_(std::move(mount_namespace)) {}
  UniqueFd namespace_;
};

}  // namespace cais
