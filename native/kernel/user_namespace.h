#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "kernel/procfs.h"
#include "kernel/result.h"
#include "kernel/unique_fd.h"

namespace cais {

// A range of ids: `inside` is what a member of the namespace sees, `outside` what the machine
// knows.
struct IdRange {
  uint32_t inside = 0;
  uint32_t outside = 0;
  uint32_t length = 0;

  bool operator==(const IdRange&) const = default;
};

// The ids of a user namespace; empty: the machine's own, where every id is itself.
struct IdMaps {
  std::vector<IdRange> uids;
  std::vector<IdRange> gids;

  // The machine's id for one of the namespace; one that the ranges do not have is nobody's.
  uid_t OutsideUid(uid_t inside) const;
  gid_t OutsideGid(gid_t inside) const;
  bool empty() const { return uids.empty() && gids.empty(); }
  bool operator==(const IdMaps&) const = default;
};

// Makes a user namespace with these maps, held only by the returned descriptor. It forks a process
// for the moment: the caller has one thread and `CAP_SETUID`, and its pids are those of `procfs`.
Result<UniqueFd> MakeUserNamespace(const Procfs& procfs, const IdMaps& maps);

// Puts the caller into a user namespace, as its root, with every capability there and none outside.
Status BecomeRootOf(int user_namespace_fd);
// The second half, for a caller that has joined by other means.
Status BecomeNamespaceRoot();

}  // namespace cais
