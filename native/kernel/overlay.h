#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "kernel/result.h"
#include "kernel/unique_fd.h"

namespace cais {

// The kernel's OVL_MAX_STACK.
constexpr size_t kMaxOverlayLayers = 500;

struct OverlayLayer {
  int fd = -1;       // borrowed
  std::string link;  // name in the link directory; empty: none
};

struct OverlayUpper {
  std::string upper_directory;
  std::string work_directory;
};

struct OverlayMount {
  std::vector<OverlayLayer> lower;  // lowest first
  std::optional<OverlayUpper> upper;
  bool volatile_upper = false;
  // Not -1: the lower layers are seen through the maps of this user namespace.
  int user_namespace_fd = -1;  // borrowed
  std::string link_directory;
  std::string supervisor_path;
};

// Makes an overlay as a detached mount. Layers go to the kernel as
//   descriptors                    from Linux 6.13 on (detached mounts as layers: from 6.15 on)
//   strings /proc/self/fd/N        from Linux 6.7 on
//   short names of links           before, in the one page of options of mount(2), by the static
//                                  supervisor, since that needs a mount namespace of its own
// whichever this kernel takes first.
//
// Options, whatever the machine's defaults are: redirect_dir=nofollow and metacopy=off, so that no
// attribute in a layer can point to content elsewhere (renaming a directory of an image answers
// EXDEV, as in other runtimes; programs copy then); index=off, since two containers may share no
// upper layer anyway; xino=off, since inode numbers above 32 bits break 32-bit programs. Attributes
// are trusted.overlay.*, which a container cannot write.
Result<UniqueFd> MountOverlay(const OverlayMount& overlay);

}  // namespace cais
