#pragma once

#include <string>
#include <string_view>

#include "kernel/result.h"

namespace cais {

// Descriptors that every program of this executable is started with; PROTOCOL.md, "Start".
constexpr int kSpecFd = 0;
constexpr int kAnswerFd = 3;

// The record on descriptor 0, at most 4 MiB.
Result<std::string> ReadSpec();

// Writes the answer and closes the pipe: the starter waits for its end.
void Answer(std::string_view record);
void AnswerFailure(const Failure& failure);

}  // namespace cais
