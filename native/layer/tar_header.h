#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "kernel/result.h"

namespace cais {

inline constexpr size_t kTarBlockBytes = 512;

enum class TarFormat { kV7, kUstar, kStar, kGnu };

// The header block of one tar member, as it stands: extensions that come in members of their own
// (pax, GNU long names) are not applied.
struct TarHeader {
  TarFormat format = TarFormat::kV7;
  char type = '0';
  std::string name;  // with the prefix field, where the format has one
  std::string link;
  uint32_t mode = 0;  // 07777
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size = 0;
  int64_t mtime_seconds = 0;
  uint32_t device_major = 0;  // only for character and block devices
  uint32_t device_minor = 0;
};

bool IsZeroBlock(std::string_view block);

// `block` has kTarBlockBytes. Fails with BAD_TAR and a reason without position.
Result<TarHeader> ParseTarHeader(std::string_view block);

// A numeric field: octal digits surrounded by blanks or NULs (none at all: 0), or base-256 when the
// first byte has its top bit set (GNU, star), negative numbers included.
Result<int64_t> ParseTarNumber(std::string_view field);

}  // namespace cais
