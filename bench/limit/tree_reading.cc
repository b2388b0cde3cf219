#include "tree_reading.h"

#include <fcntl.h>
#include <fts.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "file.h"

namespace {

constexpr size_t kBufferBytes = size_t{256} << 10;

uint64_t ReadWhole(const char* path, std::vector<char>& buffer) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME);
  if (fd < 0) Fail(std::string("cannot open \"") + path + "\"");
  uint64_t bytes = 0;
  for (;;) {
    const ssize_t count = read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail(std::string("cannot read \"") + path + "\"");
    if (count == 0) break;
    bytes += static_cast<uint64_t>(count);
  }
  close(fd);
  return bytes;
}

}  // namespace

TreeReading MeasureReading(const std::string& path) {
  std::vector<char> buffer(kBufferBytes);
  std::string root = path;
  char* const roots[] = {root.data(), nullptr};
  TreeReading reading;
  reading.watch.Start();
  FTS* tree = fts_open(roots, FTS_PHYSICAL | FTS_XDEV, nullptr);
  if (tree == nullptr) Fail("cannot open \"" + path + "\"");
  errno = 0;
  while (const FTSENT* entry = fts_read(tree)) {
    if (entry->fts_info == FTS_DP) continue;
    if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS) {
      errno = entry->fts_errno;
      Fail(std::string("cannot visit \"") + entry->fts_path + "\"");
    }
    ++reading.entries;
    if (entry->fts_info == FTS_F) reading.bytes += ReadWhole(entry->fts_accpath, buffer);
  }
  fts_close(tree);
  reading.watch.Stop();
  return reading;
}
