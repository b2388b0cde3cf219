#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "kernel/rooted_path.h"
#include "supervisor/init_context.h"

namespace cais {

namespace {

struct DefaultDevice {
  const char* path;
  unsigned major;
  unsigned minor;
};

// OCI runtime-spec, config-linux.md, "Default Devices" (ptmx and console are made elsewhere).
constexpr DefaultDevice kDefaultDevices[] = {
    {"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
    {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
};

struct DefaultLink {
  const char* name;
  const char* target;
};

// config-linux.md, "Dev symbolic links", and ptmx of the container's own devpts.
constexpr DefaultLink kDefaultLinks[] = {
    {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},         {"core", "/proc/kcore"},
};

Status MakeDevice(int root_fd, const LaunchDevice& device) {
  Result<ParentAndName> place = EnsureParentInRoot(root_fd, device.path, Links::kRefuse);
  if (!place.ok()) return place.failure();
  const int parent = place.value().parent.get();
  const char* name = place.value().name.c_str();
  const dev_t number = makedev(device.major, device.minor);
  if (mknodat(parent, name, device.type | device.mode, number) != 0) {
    // One that is there already must be the same one; a link in its place is none.
    const int error = errno;
    struct stat status;
    const bool same = error == EEXIST && fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                      (status.st_mode & S_IFMT) == device.type && status.st_rdev == number;
    if (!same) return Failure{error, "mknod", device.path, {}};
    // It is somebody else's, perhaps the host's in a volume: owner and mode stay as they are.
    return Done{};
  }
  if (fchownat(parent, name, device.uid, device.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return Errno("chown", device.path);
  }
  return Done{};
}

bool HasOwnDev(const LaunchSpec& spec) {
  for (const LaunchMount& mount : spec.mounts) {
    if (mount.destination == "/dev" && mount.type == "tmpfs") return true;
  }
  return false;
}

Status MakeLinks(int root_fd) {
  Result<UniqueFd> dev = OpenInRoot(root_fd, "/dev", O_PATH | O_DIRECTORY, Links::kRefuse);
  if (!dev.ok()) return dev.failure();
  for (const DefaultLink& link : kDefaultLinks) {
    if (symlinkat(link.target, dev.value().get(), link.name) != 0 && errno != EEXIST) {
      return Errno("symlink", std::string("/dev/") + link.name);
    }
  }
  return Done{};
}

}  // namespace

Status MakeDevices(InitContext& context) {
  const int root_fd = context.root.get();
  // Devices asked for come first, so that one of them may replace a default's mode or owner.
  for (const LaunchDevice& device : context.spec.devices) {
    Status made = MakeDevice(root_fd, device);
    if (!made.ok()) return made;
  }
  if (!HasOwnDev(context.spec)) return Done{};
  for (const DefaultDevice& device : kDefaultDevices) {
    bool asked = false;
    for (const LaunchDevice& other : context.spec.devices) {
      asked = asked || other.path == device.path;
    }
    if (asked) continue;
    Status made =
        MakeDevice(root_fd, {device.path, S_IFCHR, device.major, device.minor, 0666, 0, 0});
    if (!made.ok()) return made;
  }
  return MakeLinks(root_fd);
}

}  // namespace cais
