#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kernel/result.h"
#include "layer/layer_end.h"

namespace cais {

// Drops and checks the xattrs of an entry, the same for both forms of a layer:
// - "trusted.overlay." and "user.overlay." are dropped: overlayfs would obey them, so an image
// could
//   redirect or hide what lies below;
// - "user." is dropped from anything but files and directories: the kernel takes it from nothing
// else;
// - "security.capability" must be well formed, as setxattr(2) demands, and so must POSIX ACLs;
// - name spaces that Linux does not have are refused; of a name given twice the last value counts.
// @see xattr(7), capabilities(7) "File capability extended attribute versioning"
Status FilterXattrs(TarEntry& entry);

// Number of EROFS for the name space of an xattr, and the rest of its name. Index 0: not one of
// ours.
struct XattrName {
  uint8_t index = 0;
  std::string_view suffix;
};
XattrName SplitXattrName(std::string_view name);

// Bytes that these xattrs take behind an EROFS inode: header of 12, entries padded to 4. 0 without
// any.
uint64_t XattrAreaBytes(const TarEntry& entry);

}  // namespace cais
