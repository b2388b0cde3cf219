#pragma once

namespace cais {

// Pid 1 of a pid namespace that the containers of a pod share: reaps what they leave, until it is
// killed with the sandbox.
[[noreturn]] void RunPause();

}  // namespace cais
