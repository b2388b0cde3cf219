#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "kernel/result.h"
#include "layer/erofs_format.h"
#include "layer/sha256.h"

namespace cais {

// Names the format of what we write, and its version: the last figure.
inline constexpr std::string_view kImageFormatName = "cais-layer-2";

// The tar of a layer image starts here, byte for byte.
inline constexpr uint64_t kImageTarOffset = 4096;

// What a layer image says of itself, in its first bytes (before the superblock of EROFS):
//
//    0  16 bytes  kImageFormatName, padded with zeros
//   16   8        length of the tar
//   24   8        number of entries
//   32   8        where the metadata starts
//   40   8        length of the metadata: to the end of the file
//   48  32        SHA-256 of everything but the tar: first what follows the tar, to the end of the
//                 file, then this head of 4096 bytes with zeros in place of the checksum
//
// The diff ID is the checksum of the rest, so that no byte of the file can change unseen. The
// superblock's volume name repeats the format's, for people with a hex dump. A change of the format
// changes the name and LAYER_FORMAT_VERSION of src/snapshot/layer-record.ts.
struct ImageHead {
  uint64_t tar_bytes = 0;
  uint64_t entries = 0;
  uint64_t metadata_offset = 0;
  uint64_t metadata_bytes = 0;
};

// The bytes of a head. `checksum` has been fed with what follows the tar.
std::string EncodeImageHead(const ImageHead& head, const erofs::Superblock& superblock,
                            Sha256 checksum);

// Reads and checks the head of a published layer image, not its checksum. BAD_LAYER if the file is
// none of ours, of another version of the format, or not as long as its head says.
Result<ImageHead> ReadImageHead(int fd);

// Reads the whole image and compares its checksum. Returns the digest of the tar in it, which the
// caller compares with the diff ID. BAD_LAYER as above, and when a byte outside of the tar is not
// what was written; ABORTED when `stopping` says so.
Result<std::string> DigestImage(int fd, const std::function<bool()>& stopping);

}  // namespace cais
