#pragma once

#include <string>

#include "kernel/result.h"
#include "kernel/unique_fd.h"

namespace cais {

// Mounts a published layer image read-only and detached. Only a file whose head says that cais
// wrote it reaches the kernel's parser (`BAD_LAYER` otherwise).
Result<UniqueFd> MountLayer(const std::string& path);

// Learns if this kernel can do what the image form needs, by doing it: writes a tiny image in a
// private directory below `directory`, mounts it from the file, puts an overlay with a writable
// layer on it, reads the file through that and writes another. Returns an empty string, or which
// step the kernel refused. A Failure is trouble of another kind, say a full disk.
Result<std::string> ProbeLayerMount(const std::string& directory);

}  // namespace cais
