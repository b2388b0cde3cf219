#include "kernel/network_namespace.h"

#include <fcntl.h>
#include <sched.h>

#include <thread>

namespace cais {

Result<UniqueFd> OpenNetworkNamespace(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return Errno("open network namespace", path);
  return fd;
}

Status RunInNetworkNamespace(int netns_fd, const std::string& path,
                             const std::function<Status()>& work) {
  Status done = Done{};
  std::thread visitor([&] {
    if (setns(netns_fd, CLONE_NEWNET) != 0) {
      done = Errno("join network namespace", path);
    } else {
      done = work();
    }
  });
  visitor.join();
  return done;
}

}  // namespace cais
