#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernel/result.h"
#include "kernel/user_namespace.h"
#include "supervisor/protocol.h"
#include "supervisor/record.h"

namespace cais {

// What a supervisor is started with; PROTOCOL.md, "Start".
struct SandboxSpec {
  std::string id;
  std::string run_directory;
  int namespaces = 0;  // CLONE_NEW* bits
  std::string hostname;
  std::vector<std::pair<std::string, std::string>> sysctls;
  std::vector<std::string> supervisor_cgroups;
  int64_t open_files_soft = 0;  // 0: as inherited
  int64_t open_files_hard = 0;
  OnOwnerExit on_owner_exit = OnOwnerExit::kKeep;
  std::vector<std::string> sandbox_cgroups;
  int64_t shm_size_bytes = 0;
  IdMaps id_maps;  // empty: the machine's user namespace
};

Result<SandboxSpec> ParseSandboxSpec(std::string_view record);

// A range of ids, from the record of one; what is wrong with it is refused by `outer`.
IdRange ParseIdRange(RecordReader& outer, std::string_view record);

}  // namespace cais
