#pragma once

#include <string>

#include "kernel/result.h"

namespace cais {

// A FAILED payload: {step, errno, path, message}. `step` is one of PROTOCOL.md's names; the message
// is made of the failure, for a person.
std::string EncodeFailure(const std::string& step, const Failure& failure);

// The failure of a step of a start: its name becomes the failure's code.
inline Failure At(const char* step, Failure failure) {
  failure.code = step;
  return failure;
}

}  // namespace cais
