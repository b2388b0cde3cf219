#pragma once

#include <cstdint>
#include <string>

#include "kernel/result.h"

namespace cais {

struct TreeSize {
  uint64_t bytes = 0;  // allocated
  uint64_t inodes = 0;
};

// Walks below a directory hold one descriptor whatever the depth, follow no link and cross no
// mount. A directory that somebody moves away meanwhile ends the walk (ESTALE), it never leads it
// astray. What disappears meanwhile is passed over.

// Removes `path` and everything below; absent is success. Immutable and append-only files (a
// privileged container may have made some) are made removable first. A mount below fails (EXDEV).
Status RemoveTree(const std::string& path);

// Disk use of `path` and everything below; a file with several links counts once.
Result<TreeSize> MeasureTree(const std::string& path);

}  // namespace cais
