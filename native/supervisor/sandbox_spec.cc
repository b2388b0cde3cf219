#include "supervisor/sandbox_spec.h"

#include <sched.h>

#include "supervisor/record.h"

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
