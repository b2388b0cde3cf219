#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>

#include "kernel/detached_mount.h"
#include "kernel/rooted_path.h"
#include "supervisor/init_context.h"

namespace cais {

namespace {

// Name of the hierarchy that a cgroup directory belongs to, as the host calls it ("cpu,cpuacct",
// "memory", "unified"): the last component of its mount point, which is the first prefix of the
// path on the directory's own device.
Result<std::string> HierarchyName(const std::string& directory) {
  struct stat own;
  if (stat(directory.c_str(), &own) != 0) return Errno("stat", directory);
  for (size_t end = directory.find('/', 1);; end = directory.find('/', end + 1)) {
    const std::string prefix = directory.substr(0, end);
    struct stat status;
    if (stat(prefix.c_str(), &status) != 0) return Errno("stat", prefix);
    if (status.st_dev == own.st_dev) return prefix.substr(prefix.rfind('/') + 1);
    if (end == std::string::npos) return Failure{ENOENT, "find the mount of", directory, {}};
  }
}

Status MountUnified(const LaunchMount& mount, int target_fd) {
  Result<UniqueFd> made = MakeFilesystem("cgroup2", mount.data, AttributesOfFlags(mount.flags));
  if (!made.ok()) return made.failure();
  return AttachMount(made.value().get(), target_fd);
}

// "cpu,cpuacct" is also known by its parts.
Status LinkParts(int directory_fd, const std::string& name) {
  if (name.find(',') == std::string::npos) return Done{};
  for (size_t start = 0; start < name.size();) {
    const size_t end = std::min(name.find(',', start), name.size());
    if (symlinkat(name.c_str(), directory_fd, name.substr(start, end - start).c_str()) != 0) {
      return Errno("symlinkat", name);
    }
    start = end + 1;
  }
  return Done{};
}

// A tmpfs with one directory for each hierarchy, on which the container's own cgroup is bound.
Status MountHierarchies(const InitContext& context, const LaunchMount& mount, int target_fd) {
  const uint64_t attributes = AttributesOfFlags(mount.flags);
  const uint64_t read_only = attributes & MOUNT_ATTR_RDONLY;
  Result<UniqueFd> holder = MakeFilesystem("tmpfs", "mode=0755", attributes & ~read_only);
  if (!holder.ok()) return holder.failure();
  Status step = AttachMount(holder.value().get(), target_fd);
  for (const CgroupSource& source : context.cgroup_sources) {
    if (!step.ok()) return step;
    Result<UniqueFd> place =
        EnsureInRoot(holder.value().get(), "/" + source.name, Entry::kDirectory, Links::kRefuse);
    if (!place.ok()) return place.failure();
    step = SetMountAttributes(source.clone.get(), ChangesOfFlags(mount.flags));
    if (step.ok()) step = AttachMount(source.clone.get(), place.value().get());
    if (step.ok()) step = LinkParts(holder.value().get(), source.name);
  }
  if (!step.ok()) return step;
  return SetMountAttributes(holder.value().get(), {.set = read_only});
}

}  // namespace

Status OpenCgroupSources(InitContext& context) {
  for (const std::string& directory : context.cgroups) {
    struct statfs file_system;
    if (statfs(directory.c_str(), &file_system) != 0) return Errno("statfs", directory);
    Result<UniqueFd> clone = CloneMount(AT_FDCWD, directory, {});
    if (!clone.ok()) return clone.failure();
    Result<std::string> name = HierarchyName(directory);
    if (!name.ok()) return name.failure();
    context.cgroup_sources.push_back({std::move(clone.value()), std::move(name.value()),
                                      file_system.f_type == CGROUP2_SUPER_MAGIC});
  }
  return Done{};
}

Status MountCgroups(InitContext& context, const LaunchMount& mount) {
  Result<UniqueFd> target =
      EnsureInRoot(context.root.get(), mount.destination, Entry::kDirectory, Links::kRefuse);
  if (!target.ok()) return target.failure();
  const bool unified_only = context.cgroup_sources.size() == 1 && context.cgroup_sources[0].unified;
  Status mounted = unified_only ? MountUnified(mount, target.value().get())
                                : MountHierarchies(context, mount, target.value().get());
  context.cgroup_sources.clear();
  if (!mounted.ok() && mounted.failure().path.empty()) mounted.failure().path = mount.destination;
  return mounted;
}

}  // namespace cais
