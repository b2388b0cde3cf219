#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernel/result.h"

namespace cais {

// An OCI runtime-spec `linux.seccomp` object, as text: names are resolved when it is compiled.
struct SeccompArgument {
  uint32_t index = 0;
  uint64_t value = 0;
  uint64_t value_two = 0;
  std::string op;  // SCMP_CMP_EQ, …
};

struct SeccompRule {
  std::vector<std::string> names;
  std::string action;      // SCMP_ACT_ALLOW, …
  int64_t errno_ret = -1;  // -1: EPERM
  std::vector<SeccompArgument> arguments;
};

struct SeccompProfile {
  std::string default_action;
  int64_t default_errno_ret = -1;          // -1: EPERM
  std::vector<std::string> architectures;  // SCMP_ARCH_X86_64, …; the machine's own is implied
  std::vector<SeccompRule> rules;
};

// Compiles a profile to the bytes of a `struct sock_filter` array for this machine.
//
// Names that this machine does not know are left out, as every OCI runtime does, so that one
// profile serves several kernels and architectures. A system call with a number that neither
// libseccomp nor we have a name for is newer than the profile: it answers ENOSYS and not the
// profile's default, since programs take ENOSYS, and only ENOSYS, as "use the older call".
// Errors: `BAD_SECCOMP_PROFILE` with the word that was not understood.
Result<std::string> CompileSeccompProfile(const SeccompProfile& profile);

}  // namespace cais
