#include "kernel/mount.h"

#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>

namespace cais {

Result<FilesystemContext> FilesystemContext::Open(const char* type) {
  UniqueFd context(fsopen(type, FSOPEN_CLOEXEC));
  if (!context) return Errno("fsopen", type);
  return FilesystemContext(type, std::move(context));
}

Failure FilesystemContext::Explain(const std::string& step, int error) {
  // Each read takes one message: "e overlay: too many lower directories", say; ENODATA at the end.
  std::string said;
  char message[512];
  for (;;) {
    const ssize_t length = read(context_.get(), message, sizeof message);
    if (length <= 2) break;
    said = std::string(message + 2, static_cast<size_t>(length - 2));
    while (!said.empty() && said.back() == '\n') said.pop_back();
  }
  return Failure{error, step + " " + type_, said, {}};
}

Status FilesystemContext::SetFlag(const char* key) {
  if (fsconfig(context_.get(), FSCONFIG_SET_FLAG, key, nullptr, 0) == 0) return Done{};
  return Explain(std::string("set ") + key + " of", errno);
}

Status FilesystemContext::SetString(const char* key, const std::string& value) {
  if (fsconfig(context_.get(), FSCONFIG_SET_STRING, key, value.c_str(), 0) == 0) return Done{};
  return Explain(std::string("set ") + key + " of", errno);
}

Status FilesystemContext::SetDescriptor(const char* key, int fd) {
  if (fsconfig(context_.get(), FSCONFIG_SET_FD, key, nullptr, fd) == 0) return Done{};
  return Explain(std::string("set ") + key + " of", errno);
}

Result<UniqueFd> FilesystemContext::Mount(unsigned attributes) {
  if (fsconfig(context_.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return Explain("create", errno);
  }
  UniqueFd mount(fsmount(context_.get(), FSMOUNT_CLOEXEC, attributes));
  if (!mount) return Explain("mount", errno);
  return mount;
}

Result<UniqueFd> MountErofs(int image_fd) {
  Result<FilesystemContext> context = FilesystemContext::Open("erofs");
  if (!context.ok()) return context.failure();
  // By the descriptor: the file that was checked is the file that is mounted, and a configuration
  // string ends at 255 bytes, where paths do not.
  Status set = context.value().SetString("source", "/proc/self/fd/" + std::to_string(image_fd));
  if (set.ok()) set = context.value().SetFlag("ro");
  if (!set.ok()) return set.failure();
  return context.value().Mount(MOUNT_ATTR_RDONLY);
}

}  // namespace cais
