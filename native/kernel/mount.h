#pragma once

#include <string>

#include "kernel/result.h"
#include "kernel/unique_fd.h"

namespace cais {

// A file system being configured (fsopen(2)); mounted detached: it is only reachable by its
// descriptor, appears in no mount table and ends with its last user.
class FilesystemContext {
 public:
  static Result<FilesystemContext> Open(const char* type);

  Status SetFlag(const char* key);
  Status SetString(const char* key, const std::string& value);
  // `fd` is borrowed; the kernel takes what it needs.
  Status SetDescriptor(const char* key, int fd);
  // Makes the file system and a mount of it with MOUNT_ATTR_* `attributes`.
  Result<UniqueFd> Mount(unsigned attributes);

 private:
  FilesystemContext(std::string type, UniqueFd context)
      : type_(std::move(type)), context_(std::move(context)) {}
  // The failure, with what the file system itself says about it.
  Failure Explain(const std::string& step, int error);

  std::string type_;
  UniqueFd context_;
};

// Mounts the open EROFS image read-only, straight from the file.
Result<UniqueFd> MountErofs(int image_fd);

}  // namespace cais
