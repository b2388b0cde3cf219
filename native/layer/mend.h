#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernel/result.h"
#include "layer/layer_chain.h"
#include "layer/layer_end.h"

namespace cais {

struct MendOutcome {
  bool written = false;
  uint64_t layer_bytes = 0;
  size_t first_visible = 0;
};

// Where a mending layer goes, and how much may be done for it.
struct MendTarget {
  // Borrowed; "layer" is written into it, in the form of `open_end`, or nothing.
  int directory_fd = -1;
  Result<std::unique_ptr<LayerEnd>> (*open_end)(int, const EndLimits&) = nullptr;
  uint64_t max_steps = 0;
};

// Makes the layer that goes on top of a chain, so that its overlay shows what unpacking the layers
// one after the other into one directory would give: overlayfs shows the top-most of several
// directories of one name, which need not be one that its layer lists.
//
// Where that concerns attributes of directories only, they are looked up. Where a layer implies a
// directory that is a symbolic link below, its entries belong to where the link leads; then both
// views of the whole chain are compared (see ChainTree).
//
// LIMIT_EXCEEDED when finding that out takes more than `max_steps` (see MendBudget).
Result<MendOutcome> BuildMend(const LayerChain& chain, const MendTarget& target);

}  // namespace cais
