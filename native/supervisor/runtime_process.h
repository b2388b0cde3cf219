#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "kernel/result.h"
#include "supervisor/oci_runtime.h"
#include "supervisor/sandbox.h"

namespace cais {

// One process of an external OCI runtime. Descriptors are borrowed for the call.
struct RuntimeStart {
  const Sandbox* sandbox = nullptr;
  std::vector<std::string> arguments;  // the first is the program's path
  std::string directory;               // working directory: the bundle
  std::string log_path;         // emptied first; takes the output that has no place of its own
  int stdio[3] = {-1, -1, -1};  // -1: /dev/null, or the log
  std::string oom_score_adj;    // of the runtime, and so of what it starts

  // Mounts that only the runtime and what it starts see, in a mount namespace of its own: a path,
  // made when absent, and the detached mount to put there, -1 for the sandbox's shared memory. With
  // a sub path it is that part of the mount, resolved inside it.
  struct Mount {
    std::string path;
    int fd = -1;
    std::string sub_path;
  };
  std::vector<Mount> mounts;
  // Made (0755) when absent, inside the first of the mounts, the container's root.
  std::vector<std::string> directories;
};

// Starts it as a child that leads a session. A step that fails before the runtime runs is written
// to the log like what the runtime writes, and ends the child with kRuntimeNotRun.
Result<pid_t> StartRuntime(const RuntimeStart& start);

constexpr int kRuntimeNotRun = 125;

}  // namespace cais
