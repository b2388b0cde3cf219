#ifndef BENCH_LIMIT_MEMORY_FILE_H_
#define BENCH_LIMIT_MEMORY_FILE_H_

#include <cstddef>

// Memory that is taken and given back at one end: a file of a tmpfs that nobody else sees, gone
// with the process.
//
// Its pages are of 64 KiB (Linux 6.14; before, or without huge pages, of the size the kernel
// likes). Huge pages that are given back stay in a list of the processor, up to 800 MB of them, for
// whoever wants a huge one, and leave it a second later, when nobody needs them any more; and when
// memory is taken again, all pieces that are smaller stay free. The host then takes both. Small
// pages take 0.3 µs each to give back, a twentieth of both cores while files are written at full
// speed. These are the smallest that no processor keeps (PAGE_ALLOC_COSTLY_ORDER of the kernel is
// 3).
class MemoryFile {
 public:
  MemoryFile();
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  [[nodiscard]] size_t size() const { return size_; }
  // A multiple of kStepBytes. More than the machine can give ends the program.
  void Resize(size_t bytes);

  static constexpr size_t kStepBytes = size_t{64} << 10;

 private:
  int fd_ = -1;
  size_t size_ = 0;
};

#endif  // BENCH_LIMIT_MEMORY_FILE_H_
