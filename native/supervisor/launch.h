#pragma once

#include <memory>
#include <vector>

#include "kernel/result.h"
#include "kernel/unique_fd.h"
#include "supervisor/container.h"
#include "supervisor/event_loop.h"
#include "supervisor/launch_spec.h"
#include "supervisor/sandbox.h"

namespace cais {

// What a start needs beside its spec. Pointers are borrowed for the call.
struct LaunchRequest {
  const LaunchSpec* spec = nullptr;
  const Sandbox* sandbox = nullptr;
  EventLoop* loop = nullptr;
  std::vector<UniqueFd> fds;  // of the START frame
  const Container* exec_target = nullptr;
  // Whose pid namespace is joined; null: its own, or the supervisor's.
  const Container* pid_source = nullptr;
};

// Clones the process and returns it in the state `created`, with its report socket and its relay
// running. A Failure's `code` is the name of the step.
Result<std::unique_ptr<Container>> Launch(LaunchRequest request);

}  // namespace cais
