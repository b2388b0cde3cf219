#include "kernel/rooted_path.h"

#include <sys/stat.h>

#include <climits>
#include <vector>

#include "kernel/syscalls.h"

namespace cais {

namespace {

// openat2 answers EAGAIN when a rename elsewhere made it unsure about "..".
constexpr int kMaxRaces = 128;
constexpr int kMaxLinks = 40;

UniqueFd TryOpen(int root_fd, const std::string& path, int flags, uint64_t resolve) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.resolve = resolve;
  int fd = -1;
  for (int race = 0; race < kMaxRaces; ++race) {
    fd = OpenAt2(root_fd, path.c_str(), how);
    if (fd >= 0 || errno != EAGAIN) break;
  }
  return UniqueFd(fd);
}

uint64_t ResolveFlags(Links links) {
  return RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS |
         (links == Links::kRefuse ? RESOLVE_NO_SYMLINKS : 0);
}

std::vector<std::string> Components(const std::string& path) {
  std::vector<std::string> components;
  for (size_t start = 0; start < path.size();) {
    size_t end = path.find('/', start);
    if (end == std::string::npos) end = path.size();
    std::string component = path.substr(start, end - start);
    if (!component.empty() && component != ".") components.push_back(std::move(component));
    start = end + 1;
  }
  return components;
}

std::string Join(const std::string& directory, const std::string& name) {
  return directory + "/" + name;
}

// The target of the symbolic link `name`, or "" when it is none.
std::string ReadLink(int directory_fd, const std::string& name) {
  char target[PATH_MAX];
  const ssize_t length = readlinkat(directory_fd, name.c_str(), target, sizeof target);
  return length > 0 ? std::string(target, static_cast<size_t>(length)) : std::string();
}

Status Make(int directory_fd, const std::string& name, Entry entry) {
  if (entry == Entry::kDirectory) {
    if (mkdirat(directory_fd, name.c_str(), 0755) != 0 && errno != EEXIST) return Errno("mkdirat");
    return Done{};
  }
  UniqueFd file(openat(directory_fd, name.c_str(),
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file && errno != EEXIST) return Errno("create");
  return Done{};
}

}  // namespace

Result<UniqueFd> OpenInRoot(int root_fd, const std::string& path, int flags, Links links) {
  UniqueFd fd = TryOpen(root_fd, path, flags, ResolveFlags(links));
  if (!fd) return Errno("openat2", path);
  return fd;
}

Result<UniqueFd> EnsureInRoot(int root_fd, const std::string& path, Entry entry, Links links) {
  const uint64_t resolve = ResolveFlags(links);
  std::string wanted = path;
  for (int followed = 0; followed <= kMaxLinks; ++followed) {
    UniqueFd current = TryOpen(root_fd, "/", O_PATH | O_DIRECTORY, resolve);
    if (!current) return Errno("openat2", path);
    const std::vector<std::string> components = Components(wanted);
    std::string prefix;
    bool made = false;
    bool restart = false;
    for (size_t i = 0; i < components.size() && !restart; ++i) {
      const bool last = i + 1 == components.size();
      const Entry kind = last ? entry : Entry::kDirectory;
      const std::string& name = components[i];
      UniqueFd next;
      if (!made) {
        next = TryOpen(root_fd, Join(prefix, name), O_PATH | (last ? 0 : O_DIRECTORY), resolve);
        if (!next && errno != ENOENT) return Errno("openat2", path);
      }
      if (!next) {
        if (name == "..") return Failure{ENOENT, "create", path, {}};
        const std::string target = ReadLink(current.get(), name);
        if (!target.empty() && links == Links::kFollow) {
          wanted = target.starts_with('/') ? target : Join(prefix, target);
          for (size_t rest = i + 1; rest < components.size(); ++rest) {
            wanted = Join(wanted, components[rest]);
          }
          restart = true;
          continue;
        }
        Status status = Make(current.get(), name, kind);
        if (!status.ok()) {
          status.failure().path = path;
          return status.failure();
        }
        made = true;
        next = TryOpen(current.get(), name, O_PATH | (kind == Entry::kDirectory ? O_DIRECTORY : 0),
                       RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
        if (!next) return Errno("openat2", path);
      }
      current = std::move(next);
      prefix = Join(prefix, name);
    }
    if (!restart) return current;
  }
  return Failure{ELOOP, "openat2", path, {}};
}

Result<ParentAndName> EnsureParentInRoot(int root_fd, const std::string& path, Links links) {
  const std::vector<std::string> components = Components(path);
  if (components.empty() || components.back() == "..") {
    return Failure{EINVAL, "create", path, {}};
  }
  std::string parent = "/";
  for (size_t i = 0; i + 1 < components.size(); ++i) parent = Join(parent, components[i]);
  Result<UniqueFd> directory = EnsureInRoot(root_fd, parent, Entry::kDirectory, links);
  if (!directory.ok()) return directory.failure();
  return ParentAndName{std::move(directory.value()), components.back()};
}

}  // namespace cais
