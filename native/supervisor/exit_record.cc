#include "supervisor/exit_record.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "kernel/unique_fd.h"

namespace cais {

namespace {

const char* ReasonOf(const ExitRecord& record) {
  if (record.oom_killed) return "OOMKilled";
  return record.exit_code == 0 ? "Completed" : "Error";
}

// Ids are plain names (launch_spec.cc), so nothing needs escaping.
std::string ToJson(const ExitRecord& record) {
  return "{\"id\":\"" + record.id + "\",\"exitCode\":" + std::to_string(record.exit_code) +
         ",\"signal\":" + std::to_string(record.signal) +
         ",\"oomKilled\":" + (record.oom_killed ? "true" : "false") + ",\"startedAtNanos\":\"" +
         std::to_string(record.started_at_nanos) + "\",\"finishedAtNanos\":\"" +
         std::to_string(record.finished_at_nanos) + "\",\"reason\":\"" + ReasonOf(record) + "\"}\n";
}

}  // namespace

Status WriteExitRecord(int directory_fd, const ExitRecord& record) {
  const std::string name = record.id + ".json";
  const std::string temporary = "." + name + ".tmp";
  UniqueFd file(openat(directory_fd, temporary.c_str(),
                       O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return Errno("create", temporary);
  const std::string text = ToJson(record);
  const ssize_t count = write(file.get(), text.data(), text.size());
  if (count != static_cast<ssize_t>(text.size())) {
    const Failure failure = count < 0 ? Errno("write", name) : Failure{ENOSPC, "write", name, {}};
    (void)unlinkat(directory_fd, temporary.c_str(), 0);
    return failure;
  }
  if (renameat(directory_fd, temporary.c_str(), directory_fd, name.c_str()) != 0) {
    return Errno("rename", name);
  }
  return Done{};
}

}  // namespace cais
