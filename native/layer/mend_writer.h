#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "kernel/result.h"
#include "layer/layer_chain.h"
#include "layer/layer_end.h"

namespace cais {

// One thing that a mending layer shows.
struct MendEntry {
  enum class Kind {
    kCopy,  // what `layer` has at `source`: attributes, and the data of a file, but not what is in
            // a directory
    kDirectory,  // a directory that no layer lists
    kWhiteout,   // nothing
  };
  Kind kind = Kind::kDirectory;
  size_t layer = 0;
  std::string source;
};

// Entries by path; the map's order puts parents first.
using MendEntries = std::map<std::string, MendEntry>;

// Writes entries through one of the ends of the layer pipeline, as if they came from a tar. Names
// of one file stay hard links of each other.
class MendWriter {
 public:
  MendWriter(const LayerChain& chain, LayerEnd& end) : chain_(chain), end_(end) {}

  Status Write(const MendEntries& entries);

 private:
  Status WriteEntry(const std::string& path, const MendEntry& entry);
  Status WriteCopy(const std::string& path, const MendEntry& entry);
  Status WriteFile(TarEntry entry, int path_fd);
  Status WriteData(int fd, const DataRun& run);
  Status Pad();

  const LayerChain& chain_;
  LayerEnd& end_;
  uint64_t tar_offset_ = 0;
  // First path written for a file with several names: by layer, device and inode.
  std::map<std::pair<size_t, std::pair<dev_t, ino_t>>, std::string> linked_;
};

}  // namespace cais
