#pragma once

namespace cais {

// `cais-supervisor sandbox`: becomes the supervisor of one sandbox, as PROTOCOL.md, "Start", says,
// and returns the exit code when the sandbox has ended.
int RunSandbox();

}  // namespace cais
