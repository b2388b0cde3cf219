#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "kernel/result.h"

namespace cais {

// Inflates the members of a gzip stream, one after the other (RFC 1952): header, deflate data,
// check sum and length. Two libraries do it: zlib, which node brings, and
// ISA-L, which is about 2.5 times faster and used where it is installed.
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

Result<std::unique_ptr<GzipInflater>> OpenZlibInflater();

// Null where the library is not installed, or cais was built without its headers.
std::unique_ptr<GzipInflater> OpenIsalInflater(bool verify_checksums);

}  // namespace cais
