#pragma once

#include <cerrno>
#include <string>
#include <utility>
#include <variant>

namespace cais {

// A failed step: which system call or check (`step`, a string literal or short name), why (`error`,
// an errno value; 0 where the failure is ours, not the kernel's) and on what (`path`, possibly
// empty; or a sentence when `error` is 0).
struct Failure {
  int error = 0;
  std::string step;
  std::string path;
  // Stable word for callers, for failures that are not a system call: "BAD_TAR", "LIMIT_EXCEEDED",
  // … (see src/native.ts).
  std::string code;
};

// Reads errno: call it on the line after the failed system call, before anything else.
inline Failure Errno(const char* step, std::string path = {}) {
  return Failure{errno, step, std::move(path), {}};
}

// A check of ours that failed: `code` is one of the codes listed in src/native.ts, `message` a
// sentence for a person.
inline Failure Refuse(const char* code, std::string message) {
  return Failure{0, {}, std::move(message), code};
}

// A value or a Failure. Ask ok() first.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Failure failure) : state_(std::move(failure)) {}
  bool ok() const { return std::holds_alternative<T>(state_); }
  T& value() { return std::get<T>(state_); }
  const T& value() const { return std::get<T>(state_); }
  Failure& failure() { return std::get<Failure>(state_); }
  const Failure& failure() const { return std::get<Failure>(state_); }

 private:
  std::variant<T, Failure> state_;
};

struct Done {};
// Result of something done for its effect: `return Done{};`.
using Status = Result<Done>;

}  // namespace cais
