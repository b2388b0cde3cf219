#include "supervisor/runtime_process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstring>

#include "kernel/detached_mount.h"
#include "kernel/mount_namespace.h"
#include "kernel/rooted_path.h"
#include "supervisor/inherited_state.h"

namespace cais {

namespace {

// The runtime's own environment; the container's is in its configuration.
constexpr const char* kEnvironment[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", nullptr};

Result<struct statx> Identify(int fd) {
  struct statx status;
  if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &status) != 0) return Errno("statx");
  return status;
}

// The root of the mount that holds `directory`, found by going up.
Result<UniqueFd> MountRootOf(const std::string& directory) {
  UniqueFd here(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!here) return Errno("open", directory);
  for (;;) {
    UniqueFd above(openat(here.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!above) return Errno("open the directory above", directory);
    Result<struct statx> own = Identify(here.get());
    if (!own.ok()) return own.failure();
    Result<struct statx> next = Identify(above.get());
    if (!next.ok()) return next.failure();
    const bool is_top = own.value().stx_ino == next.value().stx_ino &&
                        own.value().stx_dev_major == next.value().stx_dev_major &&
                        own.value().stx_dev_minor == next.value().stx_dev_minor;
    if (is_top || own.value().stx_mnt_id != next.value().stx_mnt_id) return here;
    here = std::move(above);
  }
}

// Mounts below `directory` must not appear in other mount namespaces. Only the one mount that holds
// it is cut off: a volume elsewhere keeps the propagation that its container asks for.
Status StopPropagationFrom(const std::string& directory) {
  Result<UniqueFd> mount = MountRootOf(directory);
  if (!mount.ok()) return mount.failure();
  return SetMountAttributes(mount.value().get(), {.set = 0, .propagation = MS_SLAVE});
}

Status AttachAt(const std::string& path, int mount_fd, bool directory) {
  const int made = directory ? mkdir(path.c_str(), 0700) : mknod(path.c_str(), S_IFREG | 0600, 0);
  if (made != 0 && errno != EEXIST) return Errno("make the place of a mount", path);
  const UniqueFd target(open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!target) return Errno("open", path);
  Status attached = AttachMount(mount_fd, target.get());
  if (!attached.ok()) attached.failure().path = path;
  return attached;
}

Status AttachOne(const RuntimeStart::Mount& mount, int mount_fd) {
  if (mount.sub_path.empty()) return AttachAt(mount.path, mount_fd, true);
  // Only what is attached can be cloned in part.
  Status attached = AttachAt(mount.path + ".whole", mount_fd, true);
  if (!attached.ok()) return attached;
  Result<UniqueFd> part = OpenInRoot(mount_fd, mount.sub_path, O_PATH);
  if (!part.ok()) return part.failure();
  struct stat status;
  if (fstat(part.value().get(), &status) != 0) return Errno("fstat", mount.sub_path);
  if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode)) {
    return Failure{EINVAL, "refuse what is no directory or file", mount.sub_path, {}};
  }
  Result<UniqueFd> clone = CloneMount(part.value().get(), "", {});
  if (!clone.ok()) return clone.failure();
  return AttachAt(mount.path, clone.value().get(), S_ISDIR(status.st_mode));
}

Status AttachMounts(const RuntimeStart& start) {
  if (start.mounts.empty()) return Done{};
  Result<MountPlace> place = MountPlace::Current(start.sandbox->procfs);
  if (!place.ok()) return place.failure();
  std::vector<UniqueFd> owned;
  std::vector<int> mounts;
  for (const RuntimeStart::Mount& mount : start.mounts) {
    if (mount.fd < 0) {
      Result<UniqueFd> memory = start.sandbox->shared_memory.CloneAway();
      if (!memory.ok()) return memory.failure();
      Status returned = place.value().Return();
      if (!returned.ok()) return returned;
      owned.push_back(std::move(memory.value()));
      mounts.push_back(owned.back().get());
    } else {
      mounts.push_back(mount.fd);
    }
  }
  if (unshare(CLONE_NEWNS) != 0) return Errno("unshare", "mnt");
  Status cut = StopPropagationFrom(start.directory);
  if (!cut.ok()) return cut;
  for (size_t i = 0; i < mounts.size(); ++i) {
    Status attached = AttachOne(start.mounts[i], mounts[i]);
    if (!attached.ok()) return attached;
  }
  for (const std::string& directory : start.directories) {
    Result<UniqueFd> made = EnsureInRoot(mounts[0], directory, Entry::kDirectory, Links::kFollow);
    if (!made.ok()) return made.failure();
  }
  return Done{};
}

Status InstallDescriptors(const RuntimeStart& start, int log_fd) {
  const UniqueFd null_device(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null_device) return Errno("open", "/dev/null");
  for (int target = 0; target < 3; ++target) {
    int source = start.stdio[target];
    if (source < 0) source = target == 0 ? null_device.get() : log_fd;
    if (dup2(source, target) < 0) return Errno("dup2");
  }
  if (close_range(3, UINT_MAX, CLOSE_RANGE_CLOEXEC) != 0) return Errno("close_range");
  return Done{};
}

Status RunRuntime(const RuntimeStart& start, int log_fd) {
  if (setsid() < 0) return Errno("setsid");
  Status step = ResetSignals();
  if (step.ok()) step = WriteOomScore(start.sandbox->procfs, start.oom_score_adj);
  if (step.ok()) step = AttachMounts(start);
  if (!step.ok()) return step;
  if (chdir(start.directory.c_str()) != 0) return Errno("chdir", start.directory);
  step = InstallDescriptors(start, log_fd);
  if (!step.ok()) return step;
  std::vector<char*> arguments;
  for (const std::string& text : start.arguments) {
    arguments.push_back(const_cast<char*>(text.c_str()));
  }
  arguments.push_back(nullptr);
  execve(arguments[0], arguments.data(), const_cast<char* const*>(kEnvironment));
  return Errno("execute", start.arguments[0]);
}

}  // namespace

Result<pid_t> StartRuntime(const RuntimeStart& start) {
  const UniqueFd log(open(start.log_path.c_str(),
                          O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!log) return Errno("create", start.log_path);
  const pid_t pid = fork();
  if (pid < 0) return Errno("fork");
  if (pid > 0) return pid;
  Status failed = RunRuntime(start, log.get());
  const char* const reason = strerrordesc_np(failed.failure().error);
  dprintf(log.get(), "%s \"%s\": %s\n", failed.failure().step.c_str(),
          failed.failure().path.c_str(), reason != nullptr ? reason : "unknown error");
  _exit(kRuntimeNotRun);
}

}  // namespace cais
