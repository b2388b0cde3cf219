#pragma once

#include <string>

#include "supervisor/launch_spec.h"

namespace cais {

// The process of an exec as the OCI runtime-spec writes it (config.md, "POSIX process"), for a
// runtime's `exec --process`. The seccomp filter is not in it: the runtime takes the container's.
std::string OciProcessJson(const LaunchSpec& spec);

}  // namespace cais
