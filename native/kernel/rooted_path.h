#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "kernel/result.h"
#include "kernel/unique_fd.h"

namespace cais {

// Paths inside a container's root, resolved by the kernel: `..` and absolute links stay inside, and
// links of procfs (/proc/PID/fd/N) are never followed (CVE-2021-30465, CVE-2024-21626,
// CVE-2024-45310).

enum class Links {
  kFollow,  // inside the root
  kRefuse,  // ELOOP for a symbolic link anywhere in the path
};

// Opens what exists. `flags` as for openat2; O_CLOEXEC is added.
Result<UniqueFd> OpenInRoot(int root_fd, const std::string& path, int flags,
                            Links links = Links::kFollow);

enum class Entry { kDirectory, kFile };

// Opens (O_PATH) what exists, or makes it: missing directories with 0755, the last component as an
// empty directory or file. Each is made by name in a directory that is held open, so a swapped
// component cannot lead the creation outside. What a dangling link names is made inside the root.
Result<UniqueFd> EnsureInRoot(int root_fd, const std::string& path, Entry entry, Links links);

// A path taken apart for making its last component: the directory is held open.
struct ParentAndName {
  UniqueFd parent;
  std::string name;
};
Result<ParentAndName> EnsureParentInRoot(int root_fd, const std::string& path, Links links);

}  // namespace cais
