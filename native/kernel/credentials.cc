#include "kernel/credentials.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>

namespace cais {

namespace {

std::string CapabilityName(int capability) { return "capability " + std::to_string(capability); }

bool Contains(uint64_t set, int capability) { return ((set >> capability) & 1) != 0; }

}  // namespace

Status LimitBoundingSet(uint64_t bounding) {
  for (int capability = 0; capability < 64; ++capability) {
    if (Contains(bounding, capability)) continue;
    const int held = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (held < 0) break;  // past the last capability of this kernel
    if (held == 1 && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) {
      return Errno("drop from the bounding set", CapabilityName(capability));
    }
  }
  return Done{};
}

Status ChangeIds(const Credentials& credentials) {
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return Errno("prctl PR_SET_KEEPCAPS");
  if (setgroups(credentials.groups.size(), credentials.groups.data()) != 0) {
    return Errno("setgroups");
  }
  if (setresgid(credentials.gid, credentials.gid, credentials.gid) != 0) {
    return Errno("setresgid", std::to_string(credentials.gid));
  }
  if (setresuid(credentials.uid, credentials.uid, credentials.uid) != 0) {
    return Errno("setresuid", std::to_string(credentials.uid));
  }
  if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0) return Errno("prctl PR_SET_KEEPCAPS");
  return Done{};
}

Status SetCapabilities(const Credentials& credentials, uint64_t keep) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  for (int half = 0; half < 2; ++half) {
    const int shift = 32 * half;
    data[half].effective = static_cast<uint32_t>((credentials.effective | keep) >> shift);
    data[half].permitted = static_cast<uint32_t>((credentials.permitted | keep) >> shift);
    data[half].inheritable = static_cast<uint32_t>(credentials.inheritable >> shift);
  }
  if (syscall(SYS_capset, &header, data) != 0) return Errno("capset");
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) {
    return Errno("clear ambient capabilities");
  }
  for (int capability = 0; capability < 64; ++capability) {
    if (!Contains(credentials.ambient, capability)) continue;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0) {
      return Errno("raise ambient", CapabilityName(capability));
    }
  }
  return Done{};
}

Status LoadSeccomp(std::string_view program, unsigned flags) {
  sock_fprog filter = {};
  filter.len = static_cast<unsigned short>(program.size() / sizeof(sock_filter));
  filter.filter = reinterpret_cast<sock_filter*>(const_cast<char*>(program.data()));
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter) != 0) return Errno("seccomp");
  return Done{};
}

}  // namespace cais
