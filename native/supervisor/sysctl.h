#pragma once

#include <string>

#include "kernel/procfs.h"
#include "kernel/result.h"

namespace cais {

struct Sysctl {
  std::string key;  // `net.ipv4.ip_forward`, or with slashes
  std::string value;
};

// Writes a kernel setting of one of the caller's own namespaces (CLONE_NEW* bits). Refuses every
// other, since that would be the machine's (CVE-2022-0532), and every name that is not plain
// (CVE-2022-0811).
Status WriteSysctl(const Procfs& procfs, int namespaces, const Sysctl& sysctl);

}  // namespace cais
