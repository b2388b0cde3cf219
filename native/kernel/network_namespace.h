#pragma once

#include <functional>
#include <string>

#include "kernel/result.h"
#include "kernel/unique_fd.h"

namespace cais {

Result<UniqueFd> OpenNetworkNamespace(const std::string& path);

// Runs `work` on a thread of its own, which has joined the namespace and ends afterwards: no thread
// that does other work is ever in a pod's namespace. A socket belongs to the namespace in which it
// was opened, whoever uses it later, and /proc/sys/net shows the settings of the thread that opens
// its files. `path` is for the message. Borrows the descriptor.
Status RunInNetworkNamespace(int netns_fd, const std::string& path,
                             const std::function<Status()>& work);

}  // namespace cais
