#include "kernel/namespace_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "kernel/ip_address.h"
#include "kernel/network_namespace.h"

namespace cais {

namespace {

constexpr int kSliceMs = 100;

int64_t NowMs() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

// Length of the address in `storage`.
socklen_t Fill(const IpAddress& ip, uint16_t port, sockaddr_storage* storage) {
  *storage = {};
  if (ip.family == AF_INET) {
    auto* address = reinterpret_cast<sockaddr_in*>(storage);
    address->sin_family = AF_INET;
    address->sin_port = htons(port);
    memcpy(&address->sin_addr, ip.bytes.data(), ip.bytes.size());
    return sizeof *address;
  }
  auto* address = reinterpret_cast<sockaddr_in6*>(storage);
  address->sin6_family = AF_INET6;
  address->sin6_port = htons(port);
  memcpy(&address->sin6_addr, ip.bytes.data(), ip.bytes.size());
  return sizeof *address;
}

Status AwaitConnected(int fd, const NamespaceAddress& to, const std::function<bool()>& cancelled) {
  const std::string where = to.ip + " port " + std::to_string(to.port);
  const int64_t deadline = NowMs() + to.timeout_ms;
  for (;;) {
    const int64_t left = deadline - NowMs();
    if (left <= 0) return Failure{ETIMEDOUT, "connect", where, {}};
    if (cancelled()) return Failure{ECANCELED, "connect", where, {}};
    pollfd waiting = {fd, POLLOUT, 0};
    const int ready = poll(&waiting, 1, static_cast<int>(std::min<int64_t>(left, kSliceMs)));
    if (ready < 0 && errno != EINTR) return Errno("poll", where);
    if (ready <= 0) continue;
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
      return Errno("getsockopt SO_ERROR", where);
    }
    if (error != 0) return Failure{error, "connect", where, {}};
    return Done{};
  }
}

}  // namespace

Result<UniqueFd> ConnectInNamespace(const NamespaceAddress& to,
                                    const std::function<bool()>& cancelled) {
  Result<IpAddress> ip = ParseIpAddress(to.ip);
  if (!ip.ok()) return ip.failure();
  Result<UniqueFd> netns = OpenNetworkNamespace(to.netns_path);
  if (!netns.ok()) return netns.failure();
  UniqueFd fd;
  Status opened = RunInNetworkNamespace(netns.value().get(), to.netns_path, [&]() -> Status {
    fd = UniqueFd(socket(ip.value().family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return Errno("socket", to.netns_path);
    return Done{};
  });
  if (!opened.ok()) return opened.failure();
  sockaddr_storage address;
  const socklen_t length = Fill(ip.value(), to.port, &address);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0 &&
      errno != EINPROGRESS) {
    return Errno("connect", to.ip + " port " + std::to_string(to.port));
  }
  Status connected = AwaitConnected(fd.get(), to, cancelled);
  if (!connected.ok()) return connected.failure();
  return fd;
}

}  // namespace cais
