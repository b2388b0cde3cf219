#pragma once

#include <string>

#include "kernel/procfs.h"
#include "kernel/result.h"

namespace cais {

// What a child of the supervisor has from it and must not keep.

// Every signal back to its default and none blocked: the supervisor blocks some, and its caller may
// have ignored others.
Status ResetSignals();

// Sets the caller's oom_score_adj; without CAP_SYS_RESOURCE the lowest that is permitted.
Status WriteOomScore(const Procfs& procfs, const std::string& wanted);

}  // namespace cais
