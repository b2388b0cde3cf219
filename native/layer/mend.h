#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernel/result.h"

namespace cais {

// One layer of a chain, as MendOptions of src/native.ts describes it.
struct MendSource {
  int root_fd;  // O_PATH or mount descriptor of the layer's root; borrowed
  std::vector<std::string> implied_directories;
};

struct MendRequest {
  bool image_form = true;
  // Where `layer` is written; it exists.
  std::string directory;
  std::vector<MendSource> layers;  // lowest first
};

struct MendOutcome {
  // False: the chain needs no mending and nothing was written.
  bool written = false;
  uint64_t layer_bytes = 0;
};

// Makes the small layer that goes on top of a chain whose layers imply directories without listing
// them: overlayfs shows the attributes of the top-most directory of a name, and an implied one must
// look as in the layers below. Blocks on the disk; any thread.
Result<MendOutcome> BuildMendLayer(const MendRequest& request);

}  // namespace cais
