#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "kernel/result.h"
#include "kernel/unique_fd.h"
#include "supervisor/launch_spec.h"

namespace cais {

// What belongs to a container, or an exec in one, that an external OCI runtime makes.
struct OciContainer {
  OciLaunch runtime;
  // By which the runtime knows it; of an exec: that of its container.
  std::string container_id;
  // In the bundle.
  std::string log_path;      // what the runtime says while it makes this
  std::string pid_path;      // where it writes the process
  std::string process_path;  // of an exec: its process object
  std::string console_path;  // socket that takes the terminal
  UniqueFd console;
  // The runtime's process that works on it now, 0: none. Leads a session.
  pid_t operation = 0;
  // The container ended before the runtime said that it had started.
  std::optional<int> early_wait_status;
  uint16_t rows = 0;
  uint16_t columns = 0;
};

// A command line of the runtime: `<program> <options> --root R --log L --log-format json
// <command>`.
std::vector<std::string> OciCommand(const OciLaunch& runtime, const std::string& log_path,
                                    const std::vector<std::string>& command);

// Binds the socket on which the runtime hands the terminal over. Changes the working directory; a
// bundle's own path would be too long for a socket.
Status ListenForTerminal(OciContainer& oci);

// The terminal's master, which the runtime has sent before it ended; checked to be one, and
// non-blocking.
Result<UniqueFd> TakeTerminalOf(OciContainer& oci);

// The pid in the runtime's pid file.
Result<pid_t> ReadPidFile(const std::string& path);

// The end of what the runtime wrote, some KiB: its errors come last.
std::string ReadRuntimeLog(const std::string& path);

// Removes what a start left in the bundle that is of no use later.
void RemoveStartFiles(const OciContainer& oci);

}  // namespace cais
