#include "kernel/descriptor_message.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstring>

namespace cais {

Status SendDescriptor(int socket_fd, char byte, int fd, const char* what) {
  iovec piece = {&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* part = CMSG_FIRSTHDR(&message);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(part), &fd, sizeof fd);
  if (sendmsg(socket_fd, &message, MSG_NOSIGNAL) < 0) return Errno(what);
  return Done{};
}

}  // namespace cais
