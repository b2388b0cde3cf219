#include "memory_file.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "file.h"
#include "memory_use.h"

MemoryFile::MemoryFile() {
  const int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
  if (context < 0) Fail("cannot open a tmpfs");
  // Pages as large as what is written, if they lie within the file. Where there are no huge pages,
  // small ones.
  (void)fsconfig(context, FSCONFIG_SET_STRING, "huge", "within_size", 0);
  if (fsconfig(context, FSCONFIG_SET_STRING, "size", "100%", 0) != 0 ||
      fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    Fail("cannot make a tmpfs");
  }
  const int mount = fsmount(context, FSMOUNT_CLOEXEC, 0);
  if (mount < 0) Fail("cannot mount a tmpfs");
  fd_ = openat(mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd_ < 0) Fail("cannot make a file in a tmpfs");
  close(mount);
  close(context);
}

MemoryFile::~MemoryFile() { close(fd_); }

void MemoryFile::Resize(size_t bytes) {
  if (bytes > size_) {
    const size_t available = AvailableBytes();
    if (bytes - size_ > available) {
      errno = ENOMEM;
      Fail("cannot take " + std::to_string(bytes - size_) + " bytes of memory where " +
           std::to_string(available) + " are available");
    }
    static const std::vector<unsigned char> kStep(kStepBytes);
    if (lseek(fd_, static_cast<off_t>(size_), SEEK_SET) < 0) Fail("cannot take memory");
    for (size_t at = size_; at < bytes; at += kStepBytes) WriteAll(fd_, kStep);
  } else if (ftruncate(fd_, static_cast<off_t>(bytes)) != 0) {
    Fail("cannot give memory back");
  }
  size_ = bytes;
}
