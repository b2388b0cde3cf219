#pragma once

#include <cstdint>
#include <string_view>

#include "kernel/result.h"

namespace cais {

// Names the format of what we write, and its version.
inline constexpr std::string_view kImageFormatName = "cais-layer-1";

// The tar of a layer image starts here, byte for byte.
inline constexpr uint64_t kImageTarOffset = 4096;

// What a layer image says of itself, in its first bytes (before the superblock of EROFS): 16 bytes
// "cais-layer-1" padded with zeros, then the length of the tar and the number of entries, 8 bytes
// each. The superblock's volume name says the same, for people with a hex dump. A change of the
// format changes the name.
struct ImageHead {
  uint64_t tar_bytes = 0;
  uint64_t entries = 0;
};

// Reads and checks the head of a published layer image. BAD_LAYER if the file is none of ours, of
// another version of the format, or too short for its tar.
Result<ImageHead> ReadImageHead(int fd);

}  // namespace cais
