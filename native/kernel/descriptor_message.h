#pragma once

#include "kernel/result.h"

namespace cais {

// Sends one byte with one descriptor (SCM_RIGHTS) over a unix socket; `what` is for the message of
// a failure. Only system calls and the stack: a process that was just cloned may call it.
Status SendDescriptor(int socket_fd, char byte, int fd, const char* what);

}  // namespace cais
