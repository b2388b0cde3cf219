#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "kernel/result.h"

namespace cais {

// Reads a whole regular file of a container's root, which an image or a running container controls.
// The path is resolved as inside a chroot at `root_fd`, without magic links. What it leads to is
// looked at before it is opened, so that no device, FIFO or endless file is ever read
// (`NOT_A_REGULAR_FILE`; `LIMIT_EXCEEDED` above `max_bytes`; CVE-2024-9676, CVE-2026-47262).
// Nothing there: no value.
Result<std::optional<std::string>> ReadFileInRoot(int root_fd, const std::string& path,
                                                  uint64_t max_bytes);

// The type (S_IF*) of what `path` leads to, resolved in the same way. Nothing there: no value.
Result<std::optional<mode_t>> FileTypeInRoot(int root_fd, const std::string& path);

}  // namespace cais
