#include "supervisor/mount_overlay.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "kernel/descriptor_message.h"
#include "kernel/detached_mount.h"
#include "kernel/mount_namespace.h"
#include "kernel/procfs.h"
#include "supervisor/protocol.h"
#include "supervisor/record.h"
#include "supervisor/start_answer.h"

namespace cais {

namespace {

constexpr int kResultFd = 4;
// With the terminator. The smallest page of any machine.
constexpr size_t kMaxOptionBytes = 4096;
constexpr const char* kTarget = "overlay";

Status MountAndSend() {
  Result<std::string> bytes = ReadSpec();
  if (!bytes.ok()) return bytes.failure();
  RecordReader record(bytes.value());
  const std::string directory = record.Text(OverlayField::kDirectory);
  const std::string options = record.Text(OverlayField::kOptions);
  Status step = record.Finish();
  if (!step.ok()) return step;
  // mount(2) copies one page and says nothing of what does not fit.
  if (options.size() >= kMaxOptionBytes) {
    return Failure{E2BIG, "mount overlay", options.substr(0, 512), {}};
  }
  if (unshare(CLONE_NEWNS) != 0) return Errno("unshare", "mnt");
  // Lower layers are named relative to the working directory: a page holds more of them. In a
  // chroot the caller's root stays ours, so the mounts are cut off by the new place alone (see
  // below).
  if (chdir(directory.c_str()) != 0) return Errno("chdir", directory);
  // A private tmpfs to mount on: whatever the propagation of the caller's mounts is, what lies on
  // this one is seen by nobody else.
  Result<UniqueFd> place = MakeFilesystem("tmpfs", "mode=0700,size=4096", 0);
  if (!place.ok()) return place.failure();
  Result<Procfs> procfs = Procfs::Open();
  if (!procfs.ok()) return procfs.failure();
  Result<MountPlace> here = MountPlace::Current(procfs.value());
  if (!here.ok()) return here.failure();
  UniqueFd working_directory(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!working_directory) return Errno("open", directory);
  step = here.value().ReturnToNamespaceRoot();
  if (step.ok()) step = MakeAllMountsPrivate();
  if (step.ok()) step = AttachOverRoot(place.value().get());
  if (step.ok()) step = here.value().Return();
  if (!step.ok()) return step;
  if (fchdir(working_directory.get()) != 0) return Errno("fchdir", directory);
  // Below the descriptor of the place and not on it: a path that ends with a descriptor leads to
  // what the descriptor names, never to a mount on top of that.
  if (mkdirat(place.value().get(), kTarget, 0700) != 0) return Errno("mkdir", kTarget);
  const std::string target = "/proc/self/fd/" + std::to_string(place.value().get()) + "/" + kTarget;
  if (mount("overlay", target.c_str(), "overlay", 0, options.c_str()) != 0) {
    return Errno("mount overlay", options.substr(0, 512));
  }
  Result<UniqueFd> clone = CloneMount(AT_FDCWD, target, {});
  if (!clone.ok()) return clone.failure();
  return SendDescriptor(kResultFd, 'm', clone.value().get(), "send the mount");
}

}  // namespace

int RunMountOverlay() {
  Status done = MountAndSend();
  if (done.ok()) return 0;
  AnswerFailure(done.failure());
  return 1;
}

}  // namespace cais
