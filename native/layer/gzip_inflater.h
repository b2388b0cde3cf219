#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "kernel/result.h"

namespace cais {

// Inflates the members of a gzip stream, one after the other (RFC 1952): header, deflate data,
// check sum and length.
class GzipInflater {
 public:
  struct Step {
    size_t consumed;
    size_t produced;
    // The member is complete, its check sum right (where that is verified). The rest of the input
    // is not part of it.
    bool ended;
  };

  virtual ~GzipInflater() = default;
  // Takes input and fills output until one is used up or the member ends. Fails with
  // BAD_COMPRESSION and the reason.
  virtual Result<Step> Run(std::string_view input, char* output, size_t output_bytes) = 0;
  // Begins another member.
  virtual void Reset() = 0;
};

// By node's zlib, to compare with.
Result<std::unique_ptr<GzipInflater>> OpenZlibInflater();

// Our own decoder; leaves the check sum out if told so, never the length.
std::unique_ptr<GzipInflater> OpenOwnInflater(bool verify_checksums);

}  // namespace cais
