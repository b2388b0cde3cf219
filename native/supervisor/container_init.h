#pragma once

#include "supervisor/init_context.h"

namespace cais {

// Turns the calling process, just cloned by the supervisor, into what the LaunchSpec says, and
// executes its program. On failure it sends {step, errno, path} on `report_fd` and exits.
[[noreturn]] void RunContainerInit(InitContext& context);

}  // namespace cais
