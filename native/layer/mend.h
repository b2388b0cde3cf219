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

// Makes the layer that goes on top of a chain, so that its overlay shows what unpacking the layers
// one after the other into one directory would give: overlayfs shows the top-most of several
// directories of one name, which need not be one that its layer lists.
//
// Where that concerns attributes of directories only, they are looked up. Where a layer implies a
// directory that is a symbolic link below, its entries belong to where the link leads; then both
// views of the whole chain are compared (see ChainTree).
//
// Writes "layer" into the directory `directory_fd` (borrowed), in the form of `open_end`, or
// nothing.
Result<MendOutcome> BuildMend(const LayerChain& chain, int directory_fd,
                              Result<std::unique_ptr<LayerEnd>> (*open_end)(int, const EndLimits&));

}  // namespace cais
