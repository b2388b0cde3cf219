#pragma once

#include <vector>

#include "kernel/result.h"
#include "kernel/unique_fd.h"
#include "supervisor/init_context.h"
#include "supervisor/launch_spec.h"
#include "supervisor/stdio_relay.h"

namespace cais {

// The ends that the process gets; the others are in the relay's options.
struct ChildStdio {
  UniqueFd owned[3];
  StdioFds fds;
};

// Pipes as the spec asks for them; /dev/null where it asks for none, or for a terminal.
Status MakePipes(const LaunchSpec& spec, ChildStdio& child, StdioRelay::Options& relay);

// The last descriptors of the frame, as the client made them.
Status TakeClientStdio(const LaunchSpec& spec, const std::vector<UniqueFd>& fds, ChildStdio& child);

Status MakeNonBlocking(int fd);

}  // namespace cais
