#include "supervisor/sandbox_spec.h"

#include <sched.h>

namespace cais {

namespace {

constexpr int64_t kDefaultShmBytes = 64 << 20;

int NamespaceFlag(const std::string& name) {
  if (name == "net") return CLONE_NEWNET;
  if (name == "ipc") return CLONE_NEWIPC;
  if (name == "uts") return CLONE_NEWUTS;
  return 0;
}

}  // namespace

IdRange ParseIdRange(RecordReader& outer, std::string_view record) {
  // 2^32 - 1 is no id.
  constexpr int64_t kIds = UINT32_MAX;
  RecordReader reader(record);
  const int64_t inside = reader.Number(IdRangeField::kInside);
  const int64_t outside = reader.Number(IdRangeField::kOutside);
  const int64_t length = reader.Number(IdRangeField::kLength);
  if (inside < 0 || outside < 0 || length <= 0 || length > kIds || inside > kIds - length ||
      outside > kIds - length) {
    reader.Refuse("a range of ids is empty or out of range");
  }
  Status finished = reader.Finish();
  if (!finished.ok()) outer.Refuse(finished.failure().path);
  return {static_cast<uint32_t>(inside), static_cast<uint32_t>(outside),
          static_cast<uint32_t>(length)};
}

Result<SandboxSpec> ParseSandboxSpec(std::string_view record) {
  RecordReader reader(record);
  SandboxSpec spec;
  spec.id = reader.Text(SandboxField::kId);
  spec.run_directory = reader.Text(SandboxField::kRunDirectory);
  for (const std::string& name : reader.Texts(SandboxField::kNamespace)) {
    const int flag = NamespaceFlag(name);
    if (flag == 0) reader.Refuse("unknown namespace \"" + name + "\"");
    spec.namespaces |= flag;
  }
  spec.hostname = reader.Text(SandboxField::kHostname);
  for (std::string_view bytes : reader.All(SandboxField::kSysctl)) {
    RecordReader sysctl(bytes);
    std::string key = sysctl.Text(SysctlField::kKey);
    std::string value = sysctl.Text(SysctlField::kValue);
    Status finished = sysctl.Finish();
    if (!finished.ok()) return finished.failure();
    spec.sysctls.emplace_back(std::move(key), std::move(value));
  }
  spec.supervisor_cgroups = reader.Texts(SandboxField::kSupervisorCgroup);
  spec.open_files_soft = reader.Number(SandboxField::kOpenFilesSoft);
  spec.open_files_hard = reader.Number(SandboxField::kOpenFilesHard);
  spec.on_owner_exit =
      reader.Flag(SandboxField::kOnOwnerExit) ? OnOwnerExit::kKill : OnOwnerExit::kKeep;
  spec.sandbox_cgroups = reader.Texts(SandboxField::kSandboxCgroup);
  spec.shm_size_bytes = reader.Number(SandboxField::kShmSizeBytes);
  if (spec.shm_size_bytes <= 0) spec.shm_size_bytes = kDefaultShmBytes;
  for (std::string_view range : reader.All(SandboxField::kUidRange)) {
    spec.id_maps.uids.push_back(ParseIdRange(reader, range));
  }
  for (std::string_view range : reader.All(SandboxField::kGidRange)) {
    spec.id_maps.gids.push_back(ParseIdRange(reader, range));
  }
  if (spec.id_maps.uids.empty() != spec.id_maps.gids.empty()) {
    reader.Refuse("a user namespace needs ranges of both uids and gids");
  }
  if (spec.id.empty()) reader.Refuse("no sandbox id");
  if (!spec.run_directory.starts_with('/')) reader.Refuse("no absolute run directory");
  if (!spec.hostname.empty() && (spec.namespaces & CLONE_NEWUTS) == 0) {
    reader.Refuse("a host name needs the namespace \"uts\"");
  }
  Status finished = reader.Finish();
  if (!finished.ok()) return finished.failure();
  return spec;
}

}  // namespace cais
