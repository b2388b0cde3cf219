#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "kernel/result.h"

namespace cais {

// Who a process is: ids, and capability sets as masks of 1 << CAP_*.
struct Credentials {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  uint64_t bounding = 0;
  uint64_t effective = 0;
  uint64_t permitted = 0;
  uint64_t inheritable = 0;
  uint64_t ambient = 0;
  bool no_new_privileges = false;
};

// The four steps below are called in this order by the process itself, still root; each is final.

// Limits the bounding set. Capabilities unknown to this kernel are ignored.
Status LimitBoundingSet(uint64_t bounding);
// Groups, gid, uid; capabilities stay permitted (not effective) for the next step.
Status ChangeIds(const Credentials& credentials);
// Sets effective, permitted, inheritable and ambient. `keep` stays permitted and effective beyond
// that, for a seccomp filter that is loaded without no_new_privs: drop it by a second call.
Status SetCapabilities(const Credentials& credentials, uint64_t keep);
// `program`: a struct sock_filter array.
Status LoadSeccomp(std::string_view program, unsigned flags);

}  // namespace cais
