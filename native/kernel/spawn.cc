#include "kernel/spawn.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "kernel/unique_fd.h"
#include "supervisor/protocol.h"

namespace cais {

Result<pid_t> ParseStartAnswer(const std::string& answer) {
  const Failure malformed = Refuse("BAD_ANSWER", "The supervisor ended without a proper answer");
  Failure failure;
  std::string message;
  pid_t pid = 0;
  for (size_t offset = 0; offset < answer.size();) {
    if (answer.size() - offset < kFieldHeaderBytes) return malformed;
    uint16_t tag;
    uint32_t length;
    memcpy(&tag, answer.data() + offset, sizeof tag);
    memcpy(&length, answer.data() + offset + 4, sizeof length);
    offset += kFieldHeaderBytes;
    if (answer.size() - offset < length) return malformed;
    const std::string bytes = answer.substr(offset, length);
    offset += length;
    const auto field = static_cast<StartResultField>(tag);
    int64_t number = 0;
    if (field == StartResultField::kErrno || field == StartResultField::kPid) {
      if (length != sizeof number) return malformed;
      memcpy(&number, bytes.data(), sizeof number);
    }
    switch (field) {
      case StartResultField::kStep:
        failure.step = bytes;
        break;
      case StartResultField::kErrno:
        failure.error = static_cast<int>(number);
        break;
      case StartResultField::kPath:
        failure.path = bytes;
        break;
      case StartResultField::kMessage:
        message = bytes;
        break;
      case StartResultField::kPid:
        pid = static_cast<pid_t>(number);
        break;
      case StartResultField::kStartTicks:  // read from /proc here, by who will compare it
        break;
      default:
        if (tag < kFirstOptionalTag) return malformed;
    }
  }
  if (pid > 0) return pid;
  if (failure.step.empty() && message.empty()) return malformed;
  if (failure.error == 0) {
    failure.path = "The supervisor failed at step \"" + failure.step + "\"" +
                   (failure.path.empty() ? "" : " on \"" + failure.path + "\"") + ": " + message;
  } else if (failure.path.empty()) {
    failure.path = message;
  }
  failure.code = failure.error == 0 ? "SUPERVISOR_FAILED" : "";
  return failure;
}

Result<uint64_t> ReadStartTicks(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/stat";
  UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return Errno("open", path);
  char text[1024];
  const ssize_t count = read(file.get(), text, sizeof text - 1);
  if (count < 0) return Errno("read", path);
  text[count] = '\0';
  // The second field is the name in parentheses and may hold spaces and parentheses itself.
  const char* position = strrchr(text, ')');
  constexpr int kFieldsBetween = 20;  // from field 3 to field 22
  for (int i = 0; position != nullptr && i < kFieldsBetween; ++i) {
    position = strchr(position + 1, ' ');
  }
  if (position == nullptr) return Refuse("BAD_ANSWER", "Cannot understand \"" + path + "\"");
  return strtoull(position, nullptr, 10);
}

Result<SpawnedProcess> SpawnSupervisorProcess(ProgramStart start) {
  start.mode = "sandbox";
  Result<std::string> answer = RunProgram(start);
  if (!answer.ok()) return answer.failure();
  Result<pid_t> pid = ParseStartAnswer(answer.value());
  if (!pid.ok()) return pid.failure();
  Result<uint64_t> start_ticks = ReadStartTicks(pid.value());
  if (!start_ticks.ok()) return start_ticks.failure();
  return SpawnedProcess{pid.value(), start_ticks.value()};
}

}  // namespace cais
