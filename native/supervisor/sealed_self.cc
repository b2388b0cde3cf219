#include "supervisor/sealed_self.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "kernel/detached_mount.h"

namespace cais {

namespace {

constexpr char kSelf[] = "/proc/self/exe";
// In argv[0] of the second run, so that a kernel that does not obey is no endless loop.
constexpr char kSealedName[] = "cais-supervisor";

}  // namespace

Status SealSelf(char** arguments) {
  struct statvfs status;
  if (statvfs(kSelf, &status) != 0) return Errno("statvfs", kSelf);
  if ((status.f_flag & ST_RDONLY) != 0) return Done{};
  if (strcmp(arguments[0], kSealedName) == 0) {
    return Failure{EROFS, "execute from a read-only mount", kSelf, {}};
  }
  Result<UniqueFd> clone = CloneMount(AT_FDCWD, kSelf, {});
  if (!clone.ok()) return clone.failure();
  Status set = SetMountAttributes(
      clone.value().get(), {.set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID});
  if (!set.ok()) return set;
  char name[] = "cais-supervisor";
  char* again[] = {name, arguments[1], nullptr};
  char* environment[] = {nullptr};
  syscall(SYS_execveat, clone.value().get(), "", again, environment, AT_EMPTY_PATH);
  return Errno("execveat", kSelf);
}

}  // namespace cais
