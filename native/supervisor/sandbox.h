#pragma once

#include <string>

#include "kernel/procfs.h"
#include "kernel/unique_fd.h"
#include "supervisor/sandbox_spec.h"
#include "supervisor/shared_memory.h"

namespace cais {

// What a running supervisor holds for its whole life, made by sandbox_start.
struct Sandbox {
  SandboxSpec spec;
  Procfs procfs;
  UniqueFd executable;     // this program, O_PATH
  UniqueFd run_directory;  // O_PATH
  UniqueFd exit_directory;
  UniqueFd listener;
  // Of the pod, where it has one of its own; owns the pod's other namespaces.
  UniqueFd user_namespace;
  SharedMemory shared_memory;
  std::string boot_id;
  // What the supervisor was started with: containers that ask for nothing get it back.
  std::string inherited_oom_score_adj;
};

}  // namespace cais
