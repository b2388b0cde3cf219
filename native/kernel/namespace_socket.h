#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "kernel/result.h"
#include "kernel/unique_fd.h"

namespace cais {

struct NamespaceAddress {
  std::string netns_path;
  std::string ip;
  uint16_t port = 0;
  int timeout_ms = 0;
};

// A TCP connection that was made inside a network namespace, non-blocking and O_CLOEXEC. Blocks
// until it stands, `timeout_ms` has passed (ETIMEDOUT), or `cancelled` says yes (ECANCELED; asked
// ten times a second).
Result<UniqueFd> ConnectInNamespace(const NamespaceAddress& to,
                                    const std::function<bool()>& cancelled);

}  // namespace cais
