#pragma once

#include "kernel/result.h"

namespace cais {

// Makes sure that this program runs from a read-only mount, by executing itself again from a
// detached read-only clone: a container that gets hold of /proc/PID/exe of the supervisor, or of a
// process that is about to enter it, cannot write to the file, now or later (CVE-2019-5736). Costs
// no memory, unlike a copy. Returns only when that is so already, or on failure.
Status SealSelf(char** arguments);

}  // namespace cais
