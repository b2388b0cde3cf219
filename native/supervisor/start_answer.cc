#include "supervisor/start_answer.h"

#include <unistd.h>

#include "supervisor/failure_record.h"

namespace cais {

namespace {

constexpr size_t kMaxSpecBytes = 4 << 20;

}  // namespace

Result<std::string> ReadSpec() {
  std::string spec;
  char bytes[4096];
  for (;;) {
    const ssize_t count = read(kSpecFd, bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Errno("read the spec");
    if (count == 0) return spec;
    spec.append(bytes, static_cast<size_t>(count));
    if (spec.size() > kMaxSpecBytes) return Failure{EFBIG, "read the spec", {}, {}};
  }
}

void Answer(std::string_view record) {
  while (!record.empty()) {
    const ssize_t count = write(kAnswerFd, record.data(), record.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) break;
    record.remove_prefix(static_cast<size_t>(count));
  }
  (void)close(kAnswerFd);
}

void AnswerFailure(const Failure& failure) {
  Answer(EncodeFailure(failure.code.empty() ? "start" : failure.code, failure));
}

}  // namespace cais
