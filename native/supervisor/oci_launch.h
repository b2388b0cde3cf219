#pragma once

#include <memory>

#include "kernel/result.h"
#include "supervisor/container.h"
#include "supervisor/launch.h"
#include "supervisor/runtime_process.h"

namespace cais {

// Starts the runtime that makes the container or exec, and returns it in the state `created`, with
// the runtime's process as `oci->operation`. Its relay does not run yet: until the runtime has
// ended well, what comes out of the pipes is the runtime's. A Failure's `code` is the name of the
// step.
Result<std::unique_ptr<Container>> LaunchOci(LaunchRequest& request);

// Another command of the runtime about a container that it has made, with the output in `log_path`.
RuntimeStart OciOperation(const Sandbox& sandbox, const OciContainer& oci,
                          const std::string& log_path, const std::vector<std::string>& command);

// FAILED for a runtime that ended badly: what it said, or how it ended.
std::string EncodeRuntimeFailure(const Container& container, int wait_status);

}  // namespace cais
