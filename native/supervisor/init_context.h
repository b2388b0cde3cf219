#pragma once

#include <string>
#include <vector>

#include "kernel/mount_namespace.h"
#include "kernel/unique_fd.h"
#include "supervisor/launch_spec.h"
#include "supervisor/sandbox.h"

namespace cais {

// Packets of the report socket, by their first byte; any other packet is a FAILED record.
constexpr char kReportTerminal = 't';  // with the terminal's master
constexpr char kReportChild = 'c';  // with a pidfd: the process that the container is from now on
constexpr char kReportReady = 'r';  // execve follows: the end of the socket then means success

// The three descriptors that become 0, 1 and 2; equal numbers are allowed (a terminal).
struct StdioFds {
  int in = -1;
  int out = -1;
  int err = -1;
  // Pipes and terminals of ours are given to the container's user, so that /dev/stdout can be
  // opened again by it.
  bool owned_by_user = false;
};

// The container's own directory of one hierarchy, ready to be bound into the container.
struct CgroupSource {
  UniqueFd clone;
  std::string name;
  bool unified = false;
};

// What the child knows between clone3 and execve. All descriptors are O_CLOEXEC.
struct InitContext {
  InitContext(const LaunchSpec& launch_spec, const Sandbox& of_sandbox,
              const std::vector<UniqueFd>& frame_fds)
      : spec(launch_spec), sandbox(of_sandbox), fds(frame_fds) {}

  const LaunchSpec& spec;
  const Sandbox& sandbox;
  // Descriptors of the START frame.
  const std::vector<UniqueFd>& fds;
  // Packets to the supervisor: the terminal's master, a Failure record; closed by a successful
  // execve.
  int report_fd = -1;
  int supervisor_report_fd = -1;
  StdioFds stdio;
  // Cgroups to join; those of the container to join for an exec that names none.
  std::vector<std::string> cgroups;
  // True when clone3 has already put the process into its v2 cgroup.
  bool in_unified_cgroup = false;
  // kind exec: the process whose namespaces are joined.
  int target_pidfd = -1;
  // By mount: the user namespace through whose maps its ids are seen, or -1.
  std::vector<int> id_map_fds;

  // Filled by the steps.
  UniqueFd root;
  std::vector<UniqueFd> mount_sources;  // by mount; -1 where the mount needs none
  std::vector<CgroupSource> cgroup_sources;
  UniqueFd scratch;  // private tmpfs: files, the null device, devices for a user namespace
  UniqueFd terminal_slave;
  std::string program;
};

// Names in the scratch tmpfs.
constexpr char kNullNode[] = "null";
std::string DeviceNodeName(size_t index);

// Whether it gets a pid namespace of its own.
bool MakesPidNamespace(const LaunchSpec& spec);
// Devices asked for, then the default ones that nobody asked for, where /dev is the container's
// own.
std::vector<LaunchDevice> DevicesOf(const LaunchSpec& spec);

// Steps of container_init; each Failure names the system call and the path.
Status JoinCgroups(InitContext& context);            // init_session.cc
Status EnterSession(InitContext& context);           // init_session.cc
Status InstallStdio(InitContext& context);           // init_session.cc
Status OwnStdio(InitContext& context);               // init_user_namespace.cc
Status MakeScratch(InitContext& context);            // init_user_namespace.cc
Status EnterUserNamespace(InitContext& context);     // init_user_namespace.cc
Status EnterCgroupNamespace(InitContext& context);   // init_user_namespace.cc
Status SetLimits(InitContext& context);              // init_session.cc
Status SetOomScore(InitContext& context);            // init_session.cc
Status OpenMountSources(InitContext& context);       // init_root.cc
Status AttachRoot(InitContext& context);             // init_root.cc
Status AttachEmptyRoot(InitContext& context);        // init_root.cc
Status FinishRoot(InitContext& context);             // init_root.cc
Status PivotRoot(InitContext& context);              // init_root.cc
Status JoinTarget(InitContext& context);             // init_root.cc
Status MountAll(InitContext& context);               // init_mounts.cc
Status PlaceFiles(InitContext& context);             // init_mounts.cc
Status MakeDevices(InitContext& context);            // init_devices.cc
Status OpenTerminal(InitContext& context);           // init_terminal.cc
Status MaskPaths(InitContext& context);              // init_masks.cc
Status MakeDirectories(InitContext& context);        // init_process.cc
Status MakeWorkingDirectory(InitContext& context);   // init_process.cc
Status EnterWorkingDirectory(InitContext& context);  // init_process.cc
Status BecomeUser(InitContext& context);             // init_process.cc
Status ConfineProgram(InitContext& context);         // init_process.cc
Status FindProgram(InitContext& context);            // init_process.cc
Status FinishPrivileges(InitContext& context);       // init_process.cc
Status CheckSupervisorLives(InitContext& context);   // init_process.cc
Status Execute(InitContext& context);                // init_process.cc
Status ExecutePause(InitContext& context);           // init_process.cc

// Parts of EnterSession, OpenMountSources and MountAll.
Status BeginSession();                                                // init_session.cc
Status OpenCgroupSources(InitContext& context);                       // init_cgroup_mount.cc
Status MountCgroups(InitContext& context, const LaunchMount& mount);  // init_cgroup_mount.cc

}  // namespace cais
