#include "supervisor/launch_spec.h"

#include <linux/filter.h>
#include <signal.h>
#include <sys/stat.h>

#include <climits>

#include "supervisor/record.h"
#include "supervisor/sandbox_spec.h"

namespace cais {

namespace {

constexpr size_t kMaxIdBytes = 128;
// uid and gid (uid_t)-1 mean "unchanged" to the kernel: an id of 2^32-1 would leave root in place.
constexpr int64_t kMaxId = UINT32_MAX - 1;
constexpr uid_t kNobody = 65534;

// A number inside its bounds, or a refusal that names the field.
int64_t Bounded(RecordReader& reader, const char* name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return value;
  reader.Refuse(std::string(name) + " " + std::to_string(value) + " is out of range");
  return low;
}

void RequireAbsolute(RecordReader& reader, const char* name, const std::string& path) {
  if (!path.starts_with('/') || path.size() >= PATH_MAX) {
    reader.Refuse(std::string(name) + " \"" + path.substr(0, 200) +
                  "\" is no absolute path below 4096 bytes");
  }
}

// Ids name files of the run directory, so they must be plain names.
void RequireId(RecordReader& reader, const std::string& id) {
  const bool plain =
      id.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
      std::string::npos;
  if (id.empty() || id.size() > kMaxIdBytes || id.starts_with('.') || !plain) {
    reader.Refuse("the id \"" + id.substr(0, 200) + "\" is no plain name");
  }
}

LaunchMount ParseMount(RecordReader& outer, std::string_view bytes) {
  RecordReader reader(bytes);
  LaunchMount mount;
  mount.type = reader.Text(MountField::kType);
  mount.destination = reader.Text(MountField::kDestination);
  mount.source = reader.Text(MountField::kSource);
  mount.flags = static_cast<uint64_t>(reader.Number(MountField::kFlags));
  mount.propagation = static_cast<uint64_t>(reader.Number(MountField::kPropagation));
  mount.data = reader.Text(MountField::kData);
  mount.recursive_readonly = reader.Flag(MountField::kRecursiveReadonly);
  mount.source_index = static_cast<int>(Bounded(reader, "source descriptor",
                                                reader.Number(MountField::kSourceFd), 0, INT_MAX)) -
                       1;
  for (std::string_view range : reader.All(MountField::kUidRange)) {
    mount.id_maps.uids.push_back(ParseIdRange(reader, range));
  }
  for (std::string_view range : reader.All(MountField::kGidRange)) {
    mount.id_maps.gids.push_back(ParseIdRange(reader, range));
  }
  if (mount.id_maps.uids.empty() != mount.id_maps.gids.empty() ||
      (!mount.id_maps.empty() && mount.type != "bind")) {
    reader.Refuse("mapped ids need ranges of both uids and gids, and a bind mount");
  }
  mount.sub_path = reader.Text(MountField::kSubPath);
  if (!mount.sub_path.empty() && mount.source_index < 0) {
    reader.Refuse("a sub path needs a source descriptor");
  }
  RequireAbsolute(reader, "mount destination", mount.destination);
  if (mount.type == "bind" && mount.source_index < 0) {
    RequireAbsolute(reader, "bind source", mount.source);
  }
  Status finished = reader.Finish();
  if (!finished.ok()) outer.Refuse("mount: " + finished.failure().path);
  return mount;
}

LaunchDevice ParseDevice(RecordReader& outer, std::string_view bytes) {
  RecordReader reader(bytes);
  LaunchDevice device;
  device.path = reader.Text(DeviceField::kPath);
  const std::string type = reader.Text(DeviceField::kType);
  if (type != "c" && type != "b") reader.Refuse("device type \"" + type + "\" is not c or b");
  device.type = type == "b" ? S_IFBLK : S_IFCHR;
  device.major = static_cast<unsigned>(
      Bounded(reader, "device major", reader.Number(DeviceField::kMajor), 0, 4095));
  device.minor = static_cast<unsigned>(
      Bounded(reader, "device minor", reader.Number(DeviceField::kMinor), 0, 1048575));
  device.mode = static_cast<mode_t>(
      Bounded(reader, "device mode", reader.Number(DeviceField::kMode), 0, 0777));
  device.uid = static_cast<uid_t>(
      Bounded(reader, "device owner", reader.Number(DeviceField::kUid), 0, kMaxId));
  device.gid = static_cast<gid_t>(
      Bounded(reader, "device group", reader.Number(DeviceField::kGid), 0, kMaxId));
  RequireAbsolute(reader, "device path", device.path);
  Status finished = reader.Finish();
  if (!finished.ok()) outer.Refuse("device: " + finished.failure().path);
  return device;
}

LaunchRlimit ParseRlimit(RecordReader& outer, std::string_view bytes) {
  RecordReader reader(bytes);
  LaunchRlimit limit;
  limit.resource = static_cast<int>(
      Bounded(reader, "rlimit resource", reader.Number(RlimitField::kResource), 0, 15));
  limit.soft = Bounded(reader, "soft limit", reader.Number(RlimitField::kSoft), -1, INT64_MAX);
  limit.hard = Bounded(reader, "hard limit", reader.Number(RlimitField::kHard), -1, INT64_MAX);
  Status finished = reader.Finish();
  if (!finished.ok()) outer.Refuse("rlimit: " + finished.failure().path);
  return limit;
}

LaunchFile ParseFile(RecordReader& outer, std::string_view bytes) {
  RecordReader reader(bytes);
  LaunchFile file;
  file.destination = reader.Text(FileField::kDestination);
  for (std::string_view content : reader.All(FileField::kContent)) file.content = content;
  file.mode =
      static_cast<mode_t>(Bounded(reader, "file mode", reader.Number(FileField::kMode), 0, 0777));
  RequireAbsolute(reader, "file destination", file.destination);
  Status finished = reader.Finish();
  if (!finished.ok()) outer.Refuse("file: " + finished.failure().path);
  return file;
}

Credentials ParseCredentials(RecordReader& reader) {
  Credentials credentials;
  credentials.uid =
      static_cast<uid_t>(Bounded(reader, "uid", reader.Number(LaunchField::kUid), 0, kMaxId));
  credentials.gid =
      static_cast<gid_t>(Bounded(reader, "gid", reader.Number(LaunchField::kGid), 0, kMaxId));
  for (int64_t group : reader.Numbers(LaunchField::kGroup)) {
    credentials.groups.push_back(static_cast<gid_t>(Bounded(reader, "group", group, 0, kMaxId)));
  }
  const auto set = [&reader](LaunchField field) {
    return static_cast<uint64_t>(reader.Number(field));
  };
  credentials.bounding = set(LaunchField::kBounding);
  credentials.effective = set(LaunchField::kEffective);
  credentials.permitted = set(LaunchField::kPermitted);
  credentials.inheritable = set(LaunchField::kInheritable);
  credentials.ambient = set(LaunchField::kAmbient);
  credentials.no_new_privileges = reader.Flag(LaunchField::kNoNewPrivileges);
  return credentials;
}

void ParseSeccomp(RecordReader& reader, LaunchSpec& spec) {
  for (std::string_view filter : reader.All(LaunchField::kSeccomp)) spec.seccomp = filter;
  spec.seccomp_flags = static_cast<unsigned>(
      Bounded(reader, "seccomp flags", reader.Number(LaunchField::kSeccompFlags), 0, UINT32_MAX));
  if (spec.seccomp.size() % sizeof(sock_filter) != 0 ||
      spec.seccomp.size() / sizeof(sock_filter) > BPF_MAXINSNS) {
    reader.Refuse("the seccomp filter is no array of at most 4096 instructions");
  }
}

void ParseOci(RecordReader& reader, LaunchSpec& spec) {
  OciLaunch& oci = spec.oci;
  oci.program = reader.Text(LaunchField::kOciProgram);
  oci.options = reader.Texts(LaunchField::kOciOption);
  oci.root = reader.Text(LaunchField::kOciRoot);
  oci.bundle = reader.Text(LaunchField::kOciBundle);
  for (std::string_view bytes : reader.All(LaunchField::kOciMount)) {
    RecordReader nested(bytes);
    OciMount mount;
    mount.path = nested.Text(OciMountField::kPath);
    mount.source_index =
        static_cast<int>(Bounded(nested, "source descriptor",
                                 nested.Number(OciMountField::kSourceFd), 0, INT_MAX)) -
        1;
    mount.sub_path = nested.Text(OciMountField::kSubPath);
    if (!mount.path.starts_with(oci.bundle + "/")) nested.Refuse("the path leaves the bundle");
    Status finished = nested.Finish();
    if (!finished.ok()) reader.Refuse("OCI mount: " + finished.failure().path);
    oci.mounts.push_back(std::move(mount));
  }
  if (oci.program.empty()) return;
  if (spec.kind != LaunchKind::kContainer) reader.Refuse("only a container has an OCI runtime");
  RequireAbsolute(reader, "OCI runtime", oci.program);
  RequireAbsolute(reader, "root of the OCI runtime", oci.root);
  RequireAbsolute(reader, "bundle", oci.bundle);
}

void CheckWhole(RecordReader& reader, const LaunchSpec& spec) {
  RequireId(reader, spec.id);
  if (spec.kind == LaunchKind::kPause) return;
  if (spec.arguments.empty() || spec.arguments[0].empty()) reader.Refuse("no program to run");
  for (const std::string& variable : spec.environment) {
    if (variable.find('=') == std::string::npos || variable.starts_with('=')) {
      reader.Refuse("the environment entry \"" + variable.substr(0, 200) + "\" is no NAME=value");
    }
  }
  if (!spec.working_directory.empty()) {
    RequireAbsolute(reader, "working directory", spec.working_directory);
  }
  for (const std::string& directory : spec.directories) {
    RequireAbsolute(reader, "directory", directory);
  }
  if (spec.kind == LaunchKind::kContainer && spec.root_index < 0) {
    reader.Refuse("a container needs a root descriptor");
  }
  if (spec.kind == LaunchKind::kExec && spec.exec_target.empty()) {
    reader.Refuse("an exec needs a container to join");
  }
  if (spec.kind != LaunchKind::kExec &&
      (spec.forget_on_exit || spec.own_cgroup || spec.terminal_client)) {
    reader.Refuse("only an exec is forgotten, has a cgroup inside another, or a terminal client");
  }
  if (spec.terminal_client && (!spec.terminal || spec.stdio_fds)) {
    reader.Refuse("a terminal client needs a terminal of the container");
  }
  if (spec.log_directory.empty() != spec.log_path.empty()) {
    reader.Refuse("a log needs both a directory and a path below it");
  }
}

}  // namespace

Result<LaunchSpec> ParseLaunchSpec(std::string_view record) {
  RecordReader reader(record);
  LaunchSpec spec;
  const auto number = [&reader](LaunchField field, const char* name, int64_t low, int64_t high,
                                int64_t absent = 0) {
    return Bounded(reader, name, reader.Number(field, absent), low, high);
  };
  spec.id = reader.Text(LaunchField::kId);
  spec.kind = static_cast<LaunchKind>(number(LaunchField::kKind, "kind", 0, 2));
  spec.arguments = reader.Texts(LaunchField::kArgument);
  spec.environment = reader.Texts(LaunchField::kEnvironment);
  spec.working_directory = reader.Text(LaunchField::kWorkingDirectory);
  spec.terminal = reader.Flag(LaunchField::kTerminal);
  spec.rows = static_cast<uint16_t>(number(LaunchField::kRows, "rows", 0, UINT16_MAX));
  spec.columns = static_cast<uint16_t>(number(LaunchField::kColumns, "columns", 0, UINT16_MAX));
  spec.stdin_mode = static_cast<StdinMode>(number(LaunchField::kStdin, "stdin", 0, 2));
  spec.stdio_fds = reader.Flag(LaunchField::kStdioFds);
  spec.log_directory = reader.Text(LaunchField::kLogDirectory);
  spec.log_path = reader.Text(LaunchField::kLogPath);
  spec.credentials = ParseCredentials(reader);
  spec.umask = static_cast<mode_t>(number(LaunchField::kUmask, "umask", 0, 0777, 022));
  spec.root_readonly = reader.Flag(LaunchField::kRootReadonly);
  for (std::string_view bytes : reader.All(LaunchField::kMount)) {
    spec.mounts.push_back(ParseMount(reader, bytes));
  }
  for (std::string_view bytes : reader.All(LaunchField::kDevice)) {
    spec.devices.push_back(ParseDevice(reader, bytes));
  }
  spec.masked_paths = reader.Texts(LaunchField::kMaskedPath);
  spec.readonly_paths = reader.Texts(LaunchField::kReadonlyPath);
  for (std::string_view bytes : reader.All(LaunchField::kRlimit)) {
    spec.rlimits.push_back(ParseRlimit(reader, bytes));
  }
  spec.has_oom_score_adj = reader.Has(LaunchField::kOomScoreAdj);
  spec.oom_score_adj =
      static_cast<int>(number(LaunchField::kOomScoreAdj, "oom score", -1000, 1000));
  ParseSeccomp(reader, spec);
  spec.cgroups = reader.Texts(LaunchField::kCgroup);
  spec.pid_namespace =
      static_cast<PidNamespace>(number(LaunchField::kPidNamespace, "pid namespace", 0, 3));
  spec.pid_target = reader.Text(LaunchField::kPidTarget);
  spec.exec_target = reader.Text(LaunchField::kExecTarget);
  spec.root_index =
      static_cast<int>(number(LaunchField::kRootFd, "root descriptor", 0, INT_MAX)) - 1;
  spec.personality =
      static_cast<unsigned>(number(LaunchField::kPersonality, "personality", 0, UINT32_MAX - 1));
  for (std::string_view bytes : reader.All(LaunchField::kFile)) {
    spec.files.push_back(ParseFile(reader, bytes));
  }
  spec.directories = reader.Texts(LaunchField::kDirectory);
  spec.apparmor_profile = reader.Text(LaunchField::kAppArmorProfile);
  spec.stop_signal = static_cast<int>(number(LaunchField::kStopSignal, "stop signal", 0, SIGRTMAX));
  if (spec.stop_signal == 0) spec.stop_signal = SIGTERM;
  spec.forget_on_exit = reader.Flag(LaunchField::kForgetOnExit);
  spec.own_cgroup = reader.Flag(LaunchField::kOwnCgroup);
  spec.terminal_client = reader.Flag(LaunchField::kTerminalClient);
  ParseOci(reader, spec);
  if (spec.kind == LaunchKind::kPause) {
    // It does nothing, and needs nothing: nobody, without any capability.
    spec.credentials = Credentials();
    spec.credentials.uid = kNobody;
    spec.credentials.gid = kNobody;
    spec.credentials.no_new_privileges = true;
  }
  CheckWhole(reader, spec);
  Status finished = reader.Finish();
  if (!finished.ok()) return finished.failure();
  return spec;
}

}  // namespace cais
