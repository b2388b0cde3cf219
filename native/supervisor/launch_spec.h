#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/credentials.h"
#include "kernel/result.h"
#include "kernel/user_namespace.h"
#include "supervisor/protocol.h"

namespace cais {

struct LaunchMount {
  std::string type;
  std::string destination;
  std::string source;
  uint64_t flags = 0;        // MS_*
  uint64_t propagation = 0;  // MS_*; 0: private
  std::string data;
  bool recursive_readonly = false;
  int source_index = -1;  // among the frame's descriptors
  std::string sub_path;   // what of that descriptor; empty: all
  IdMaps id_maps;         // of the files as they are seen; empty: as they are
};

struct LaunchDevice {
  std::string path;
  mode_t type = 0;  // S_IFCHR or S_IFBLK
  unsigned major = 0;
  unsigned minor = 0;
  mode_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};

struct LaunchRlimit {
  int resource = 0;
  int64_t soft = 0;
  int64_t hard = 0;
};

struct LaunchFile {
  std::string destination;
  std::string content;
  mode_t mode = 0;
};

// A detached mount put below the bundle, where only the OCI runtime sees it.
struct OciMount {
  std::string path;       // absolute, below the bundle
  int source_index = -1;  // among the frame's descriptors; -1: the sandbox's shared memory
  std::string sub_path;   // what of it, resolved in it; empty: all
};

// The external OCI runtime that runs a container; without a program it is container_init.
struct OciLaunch {
  std::string program;
  std::vector<std::string> options;  // before the command
  std::string root;                  // where the runtime keeps its state
  std::string bundle;                // with config.json
  std::vector<OciMount> mounts;
};

// How to make one container, exec or pause process; PROTOCOL.md, "LaunchSpec".
struct LaunchSpec {
  std::string id;
  LaunchKind kind = LaunchKind::kContainer;
  std::vector<std::string> arguments;
  std::vector<std::string> environment;
  std::string working_directory;
  bool terminal = false;
  uint16_t rows = 0;
  uint16_t columns = 0;
  StdinMode stdin_mode = StdinMode::kNull;
  bool stdio_fds = false;
  std::string log_directory;
  std::string log_path;
  Credentials credentials;
  mode_t umask = 022;
  bool root_readonly = false;
  std::vector<LaunchMount> mounts;
  std::vector<LaunchDevice> devices;
  std::vector<std::string> masked_paths;
  std::vector<std::string> readonly_paths;
  std::vector<LaunchRlimit> rlimits;
  bool has_oom_score_adj = false;
  int oom_score_adj = 0;
  std::string seccomp;  // struct sock_filter array
  unsigned seccomp_flags = 0;
  std::vector<std::string> cgroups;
  PidNamespace pid_namespace = PidNamespace::kOwn;
  std::string pid_target;
  std::string exec_target;
  int root_index = -1;  // among the frame's descriptors
  unsigned personality = 0;
  std::vector<LaunchFile> files;
  std::vector<std::string> directories;
  int stop_signal = 0;
  bool forget_on_exit = false;
  bool own_cgroup = false;
  bool terminal_client = false;
  std::string apparmor_profile;  // empty: none
  OciLaunch oci;
};

// Checks form and bounds: what passes here can fail only in a system call.
Result<LaunchSpec> ParseLaunchSpec(std::string_view record);

}  // namespace cais
