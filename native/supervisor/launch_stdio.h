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

// Everything that a process reads and writes, as the spec asks for it: pipes with their log, or the
// descriptors that came with the frame. What the relay gets of `fds` is moved from there; the
// others must outlive the start. The failure names its step.
Status OpenStdio(const LaunchSpec& spec, std::vector<UniqueFd>& fds, ChildStdio& child,
                 StdioRelay::Options& relay);

Status MakeNonBlocking(int fd);

}  // namespace cais
