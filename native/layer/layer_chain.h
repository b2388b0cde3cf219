#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "kernel/result.h"
#include "kernel/unique_fd.h"
#include "layer/layer_end.h"

namespace cais {

// One layer as it is stored: a descriptor of its root (borrowed) and the directories that it has
// but does not list.
struct ChainLayer {
  int fd = -1;
  std::unordered_set<std::string> implied;
};

using LayerChain = std::vector<ChainLayer>;

// What stands at a path of one layer. Nothing is followed.
struct LayerLookup {
  // Empty: nothing stands there.
  UniqueFd fd;
  struct stat status = {};
  // The layers below are not seen at this path, whatever stands here: a whiteout, an opaque
  // directory, or something that is no directory on the way or at the path.
  bool hides_below = false;
  // Names looked up, the root included.
  uint32_t steps = 0;

  bool found() const { return static_cast<bool>(fd); }
  bool is_directory() const { return found() && S_ISDIR(status.st_mode); }
  bool is_whiteout() const { return found() && S_ISCHR(status.st_mode) && status.st_rdev == 0; }
};

// Looks a path (relative to the root, "" is the root) up, name by name.
Result<LayerLookup> LookUp(const ChainLayer& layer, std::string_view path);

// Whether a directory has the opaque mark of overlayfs.
Result<bool> IsOpaque(int fd);

// What the object at `fd` (O_PATH) would be in a tar, but for its name and data.
Result<TarEntry> DescribeObject(int fd, const struct stat& status);

}  // namespace cais
