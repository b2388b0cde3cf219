#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernel/unique_fd.h"
#include "supervisor/exit_record.h"
#include "supervisor/launch_spec.h"
#include "supervisor/oci_runtime.h"
#include "supervisor/stdio_relay.h"

namespace cais {

// One container, exec or pause process of the sandbox.
//
//   created ──execve──▶ running ──process and output ended──▶ exited ──FORGET──▶ gone
//      └──a step failed──▶ gone, once reaped
struct Container {
  std::string id;
  LaunchKind kind = LaunchKind::kContainer;
  ContainerState state = ContainerState::kCreated;
  pid_t pid = 0;
  UniqueFd pidfd;
  int64_t start_ticks = 0;
  bool own_pid_namespace = false;
  // Of an exec: the container it joined, in whose cgroups it lives.
  std::string exec_target;
  std::vector<std::string> cgroups;
  // Of an exec that can be killed with all its descendants: a cgroup inside the container's.
  std::string own_cgroup;
  bool forget_on_exit = false;
  int stop_signal = 0;
  int64_t oom_kills_before = 0;
  ExitRecord exit;
  std::unique_ptr<StdioRelay> relay;

  // While created: the child's reports, and who asked for the start.
  UniqueFd report;
  uint64_t requester = 0;  // serial of the connection
  uint32_t request_id = 0;
  bool ready = false;   // execve was about to follow
  bool failed = false;  // FAILED was sent; only the process must still be reaped
  bool reaped = false;

  // Null when container_init made it.
  std::unique_ptr<OciContainer> oci;
};

// Sends a signal. SIGKILL takes the whole cgroup of a container, and the session of an exec.
void SignalContainer(const Container& container, int signal);

}  // namespace cais
