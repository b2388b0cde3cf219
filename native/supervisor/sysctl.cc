#include "supervisor/sysctl.h"

#include <sched.h>

#include <algorithm>

namespace cais {

namespace {

struct NamespacedPrefix {
  const char* prefix;
  int name_space;
};

// What the kernel keeps for each namespace.
constexpr NamespacedPrefix kNamespaced[] = {
    {"net/", CLONE_NEWNET},
    {"kernel/shm", CLONE_NEWIPC},
    {"kernel/msg", CLONE_NEWIPC},
    {"kernel/sem", CLONE_NEWIPC},
    {"fs/mqueue/", CLONE_NEWIPC},
    {"kernel/domainname", CLONE_NEWUTS},
    {"kernel/hostname", CLONE_NEWUTS},
};

// sysctl(8): the first separator found is the one used; with dots, a slash stands for a dot in a
// name (an interface `eth0.1`).
std::string PathOf(std::string key) {
  const size_t first = key.find_first_of("./");
  if (first == std::string::npos || key[first] == '/') return key;
  for (char& character : key) {
    if (character == '.') {
      character = '/';
    } else if (character == '/') {
      character = '.';
    }
  }
  return key;
}

bool IsPlain(const std::string& path) {
  const bool known = std::all_of(path.begin(), path.end(), [](char character) {
    return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
           (character >= '0' && character <= '9') || character == '_' || character == '-' ||
           character == '/' || character == '.';
  });
  return known && path.find("..") == std::string::npos && path.find("//") == std::string::npos &&
         !path.starts_with('/') && !path.ends_with('/');
}

}  // namespace

Status WriteSysctl(const Procfs& procfs, int namespaces, const Sysctl& sysctl) {
  const std::string path = PathOf(sysctl.key);
  bool allowed = false;
  for (const NamespacedPrefix& known : kNamespaced) {
    const bool ours = (namespaces & known.name_space) != 0;
    allowed = allowed || (ours && path.starts_with(known.prefix));
  }
  if (!IsPlain(path) || !allowed) {
    return Failure{EPERM, "refuse a setting that is not the sandbox's own", sysctl.key, {}};
  }
  Status written = procfs.Write("sys/" + path, sysctl.value);
  if (!written.ok()) written.failure().path = sysctl.key + "=" + sysctl.value;
  return written;
}

}  // namespace cais
