#include "supervisor/oci_runtime.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace cais {

namespace {

// A record of the failure must fit one frame, and a person reads it.
constexpr size_t kMaxLogBytes = 6 << 10;
constexpr size_t kMaxPidBytes = 32;

std::string NameOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

Result<UniqueFd> ReceiveDescriptor(int socket_fd) {
  // The name of the terminal comes with it; it is of no interest.
  char bytes[4096];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec piece = {bytes, sizeof bytes};
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (recvmsg(socket_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0) return Errno("recvmsg");
  const cmsghdr* part = CMSG_FIRSTHDR(&message);
  if (part == nullptr || part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
    return Failure{EBADMSG, "the OCI runtime sent no terminal", {}, {}};
  }
  int fd = -1;
  memcpy(&fd, CMSG_DATA(part), sizeof fd);
  return UniqueFd(fd);
}

}  // namespace

std::vector<std::string> OciCommand(const OciLaunch& runtime, const std::string& log_path,
                                    const std::vector<std::string>& command) {
  std::vector<std::string> line = {runtime.program};
  line.insert(line.end(), runtime.options.begin(), runtime.options.end());
  for (const char* text :
       {"--root", runtime.root.c_str(), "--log", log_path.c_str(), "--log-format", "json"}) {
    line.emplace_back(text);
  }
  line.insert(line.end(), command.begin(), command.end());
  return line;
}

Status ListenForTerminal(OciContainer& oci) {
  UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return Errno("socket");
  const std::string name = NameOf(oci.console_path);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (name.size() >= sizeof address.sun_path) return Failure{ENAMETOOLONG, "bind", name, {}};
  memcpy(address.sun_path, name.c_str(), name.size() + 1);
  if (chdir(oci.runtime.bundle.c_str()) != 0) return Errno("chdir", oci.runtime.bundle);
  (void)unlink(name.c_str());
  const mode_t before = umask(0177);
  const int bound =
      bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = errno;
  umask(before);
  if (chdir("/") != 0) return Errno("chdir", "/");
  if (bound != 0) return Failure{error, "bind", oci.console_path, {}};
  if (listen(listener.get(), 1) != 0) return Errno("listen", oci.console_path);
  oci.console = std::move(listener);
  return Done{};
}

Result<UniqueFd> TakeTerminalOf(OciContainer& oci) {
  const UniqueFd connection(
      accept4(oci.console.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!connection) return Errno("accept", oci.console_path);
  Result<UniqueFd> master = ReceiveDescriptor(connection.get());
  if (!master.ok()) return master;
  unsigned number = 0;
  if (ioctl(master.value().get(), TIOCGPTN, &number) != 0) return Errno("TIOCGPTN");
  const int flags = fcntl(master.value().get(), F_GETFL);
  if (flags < 0 || fcntl(master.value().get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return Errno("fcntl O_NONBLOCK");
  }
  return master;
}

Result<pid_t> ReadPidFile(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file) return Errno("open", path);
  char text[kMaxPidBytes] = {};
  if (read(file.get(), text, sizeof text - 1) < 0) return Errno("read", path);
  char* end = nullptr;
  const long pid = strtol(text, &end, 10);
  if (end == text || (*end != '\0' && *end != '\n') || pid <= 1 || pid > (1 << 22)) {
    return Failure{EBADMSG, "no process number in", path, {}};
  }
  return static_cast<pid_t>(pid);
}

std::string ReadRuntimeLog(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  struct stat status;
  if (!file || fstat(file.get(), &status) != 0) return {};
  const off_t start = status.st_size > static_cast<off_t>(kMaxLogBytes)
                          ? status.st_size - static_cast<off_t>(kMaxLogBytes)
                          : 0;
  std::string text(kMaxLogBytes, '\0');
  const ssize_t count = pread(file.get(), text.data(), text.size(), start);
  text.resize(count > 0 ? static_cast<size_t>(count) : 0);
  // Travels as a string of a record, which holds no NUL.
  for (char& byte : text) {
    if (byte == '\0') byte = ' ';
  }
  return text;
}

void RemoveStartFiles(const OciContainer& oci) {
  for (const std::string* path :
       {&oci.log_path, &oci.pid_path, &oci.process_path, &oci.console_path}) {
    if (!path->empty()) (void)unlink(path->c_str());
  }
}

}  // namespace cais
