#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/result.h"

namespace cais {

// What one pax extended header says, as far as a container layer needs it. Other keywords (atime,
// uname, comment, …) are checked for form and ignored.
struct PaxRecords {
  struct Time {
    int64_t seconds;
    uint32_t nanos;
  };

  std::optional<std::string> path;
  std::optional<std::string> link_path;
  std::optional<uint64_t> size;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<Time> mtime;
  // By full name, for example "security.capability"; ordered, so that one tar gives one result.
  std::map<std::string, std::string> xattrs;

  // GNU.sparse.*: formats 0.0 and 0.1 bring the map here, 1.0 in front of the data.
  std::optional<std::string> sparse_major;
  std::optional<std::string> sparse_minor;
  std::optional<std::string> sparse_name;
  std::optional<uint64_t> sparse_real_size;
  // Offset and length by turns.
  std::vector<uint64_t> sparse_map;
  bool has_sparse_map = false;

  // True when a record names or measures one file, which makes no sense in a global header.
  bool describes_one_file() const {
    return path || link_path || size || sparse_major || sparse_minor || sparse_name ||
           sparse_real_size || has_sparse_map;
  }
};

// Adds the records of `body` ("<length> <key>=<value>\n"…) to `records`; later ones win, an empty
// value takes a standard keyword back. Fails with BAD_TAR, or LIMIT_EXCEEDED for an xattr that
// Linux could not hold, without position. See POSIX.1-2017, pax, "pax Extended Header"; GNU tar
// manual, "Storing Sparse Files".
Status ParsePaxRecords(std::string_view body, PaxRecords& records);

}  // namespace cais
