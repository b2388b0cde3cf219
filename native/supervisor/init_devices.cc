#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "kernel/detached_mount.h"
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

// A node that was made before the user namespace was entered.
Status BindDevice(InitContext& context, const LaunchDevice& device, size_t index) {
  Result<UniqueFd> node =
      CloneMount(context.scratch.get(), DeviceNodeName(index), {.follow_links = false});
  if (!node.ok()) return node.failure();
  Result<UniqueFd> target =
      EnsureInRoot(context.root.get(), device.path, Entry::kFile, Links::kRefuse);
  if (!target.ok()) return target.failure();
  Status attached = AttachMount(node.value().get(), target.value().get());
  if (!attached.ok()) attached.failure().path = device.path;
  return attached;
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

std::vector<LaunchDevice> DevicesOf(const LaunchSpec& spec) {
  // Those asked for come first, so that one of them may replace a default's mode or owner.
  std::vector<LaunchDevice> devices = spec.devices;
  if (!HasOwnDev(spec)) return devices;
  for (const DefaultDevice& device : kDefaultDevices) {
    const bool asked =
        std::any_of(spec.devices.begin(), spec.devices.end(),
                    [&device](const LaunchDevice& other) { return other.path == device.path; });
    if (asked) continue;
    devices.push_back({device.path, S_IFCHR, device.major, device.minor, 0666, 0, 0});
  }
  return devices;
}

Status MakeDevices(InitContext& context) {
  const int root_fd = context.root.get();
  const std::vector<LaunchDevice> devices = DevicesOf(context.spec);
  for (size_t i = 0; i < devices.size(); ++i) {
    Status made = context.sandbox.user_namespace ? BindDevice(context, devices[i], i)
                                                 : MakeDevice(root_fd, devices[i]);
    if (!made.ok()) return made;
  }
  return HasOwnDev(context.spec) ? MakeLinks(root_fd) : Done{};
}

}  // namespace cais
