#include "kernel/datagram.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

#include "kernel/unique_fd.h"

namespace cais {

Status SendDatagram(const std::string& path, const std::string& message) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    errno = ENAMETOOLONG;
    return Errno("send datagram", path);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const bool abstract = path[0] == '@';
  if (abstract) address.sun_path[0] = '\0';
  // The terminating zero belongs to a path, but would be one more byte of an abstract name.
  const size_t name_size = path.size() + (abstract ? 0 : 1);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name_size);

  UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return Errno("socket");
  if (sendto(fd.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
             reinterpret_cast<const sockaddr*>(&address), size) < 0) {
    return Errno("send datagram", path);
  }
  return Done{};
}

}  // namespace cais
