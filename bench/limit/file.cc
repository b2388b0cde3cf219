#include "file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

void Fail(const std::string& message) {
  const int error = errno;
  std::fprintf(stderr, "limit: %s%s%s\n", message.c_str(), error != 0 ? ": " : "",
               error != 0 ? std::strerror(error) : "");
  std::exit(1);
}

Bytes ReadFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (fd < 0 || fstat(fd, &status) != 0) Fail("cannot open \"" + path + "\"");
  const auto size = static_cast<size_t>(status.st_size);
  if (size == 0) return {};
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Fail("no memory for \"" + path + "\"");
  // A failure costs nothing but a few more faults while reading.
  (void)madvise(memory, size, MADV_HUGEPAGE);
  auto* bytes = static_cast<unsigned char*>(memory);
  for (size_t done = 0; done < size;) {
    const ssize_t count = read(fd, bytes + done, size - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) Fail("cannot read \"" + path + "\"");
    done += static_cast<size_t>(count);
  }
  close(fd);
  return {bytes, size};
}

void WriteAll(int fd, Bytes bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(fd, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail("cannot write");
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
}
