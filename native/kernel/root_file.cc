#include "kernel/root_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "kernel/syscalls.h"
#include "kernel/unique_fd.h"

namespace cais {

namespace {

// What the path leads to, not opened yet (O_PATH).
Result<std::optional<UniqueFd>> FindInRoot(int root_fd, const std::string& path) {
  open_how how = {};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  UniqueFd place;
  // EAGAIN: a rename raced with a ".." of the path; the kernel asks to try again.
  for (int attempt = 0; attempt < 16 && !place; ++attempt) {
    place.Reset(OpenAt2(root_fd, path.c_str(), how));
    if (!place && errno != EAGAIN) break;
  }
  if (!place) {
    if (errno == ENOENT || errno == ENOTDIR) return std::optional<UniqueFd>();
    return Errno("open", path);
  }
  return std::optional<UniqueFd>(std::move(place));
}

}  // namespace

Result<std::optional<mode_t>> FileTypeInRoot(int root_fd, const std::string& path) {
  Result<std::optional<UniqueFd>> found = FindInRoot(root_fd, path);
  if (!found.ok()) return found.failure();
  if (!found.value()) return std::optional<mode_t>();
  struct stat info = {};
  if (fstat(found.value()->get(), &info) != 0) return Errno("stat", path);
  return std::optional<mode_t>(info.st_mode & S_IFMT);
}

Result<std::optional<std::string>> ReadFileInRoot(int root_fd, const std::string& path,
                                                  uint64_t max_bytes) {
  Result<std::optional<UniqueFd>> found = FindInRoot(root_fd, path);
  if (!found.ok()) return found.failure();
  if (!found.value()) return std::optional<std::string>();
  const UniqueFd place = std::move(*found.value());
  struct stat info = {};
  if (fstat(place.get(), &info) != 0) return Errno("stat", path);
  if (!S_ISREG(info.st_mode)) {
    return Refuse("NOT_A_REGULAR_FILE", "\"" + path + "\" in the root is not a regular file");
  }
  const auto too_large = [&] {
    return Refuse("LIMIT_EXCEEDED", "\"" + path + "\" in the root is larger than " +
                                        std::to_string(max_bytes) + " bytes");
  };
  if (static_cast<uint64_t>(info.st_size) > max_bytes) return too_large();
  // The very inode that was looked at, by the descriptor and not by the name.
  const UniqueFd file(open(("/proc/self/fd/" + std::to_string(place.get())).c_str(),
                           O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!file) return Errno("open", path);
  std::string content;
  for (;;) {
    char piece[16 << 10];
    const ssize_t count = read(file.get(), piece, sizeof piece);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Errno("read", path);
    if (count == 0) return std::optional<std::string>(std::move(content));
    // The file may grow while it is read.
    if (content.size() + static_cast<size_t>(count) > max_bytes) return too_large();
    content.append(piece, static_cast<size_t>(count));
  }
}

}  // namespace cais
