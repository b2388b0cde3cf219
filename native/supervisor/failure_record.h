#pragma once

#include <string>

#include "kernel/result.h"

namespace cais {

// A FAILED payload: {step, errno, path, message}. `step` is one of PROTOCOL.md's names; the message
// is made of the failure, for a person.
std::string EncodeFailure(const std::string& step, const Failure& failure);

}  // namespace cais
