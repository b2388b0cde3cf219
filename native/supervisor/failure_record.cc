#include "supervisor/failure_record.h"

#include <cstring>

#include "supervisor/protocol.h"
#include "supervisor/record.h"

namespace cais {

namespace {

// A record must fit one packet of the report socket.
constexpr size_t kMaxTextBytes = 8 << 10;

}  // namespace

std::string EncodeFailure(const std::string& step, const Failure& failure) {
  std::string message = failure.step;
  if (!failure.path.empty()) {
    if (!message.empty()) message += ' ';
    message.append("\"").append(failure.path).append("\"");
  }
  if (failure.error != 0) {
    const char* reason = strerrordesc_np(failure.error);
    message.append(": ").append(reason != nullptr ? reason : "unknown error");
  }
  return RecordWriter()
      .Bytes(FailedField::kStep, step)
      .Number(FailedField::kErrno, failure.error)
      .Bytes(FailedField::kPath, failure.path.substr(0, kMaxTextBytes))
      .Bytes(FailedField::kMessage, message.substr(0, kMaxTextBytes))
      .bytes();
}

}  // namespace cais
