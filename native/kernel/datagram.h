#pragma once

#include <string>

#include "kernel/result.h"

namespace cais {

// Sends one datagram to the unix socket at `path` and waits for nothing: EAGAIN when it has no
// room. A path that begins with "@" is an abstract name. See sd_notify(3), unix(7).
Status SendDatagram(const std::string& path, const std::string& message);

}  // namespace cais
