// The plainest client of a registry on loopback: what a transfer costs before anybody does anything
// with the bytes.
#ifndef BENCH_LIMIT_DOWNLOAD_H_
#define BENCH_LIMIT_DOWNLOAD_H_

#include <cstdint>
#include <string>

#include "stopwatch.h"

class Registry {
 public:
  // Connects to 127.0.0.1; the connection is kept for all downloads.
  explicit Registry(int port);
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;
  ~Registry();

  // Reads the body of `path` and throws it away; ends the program unless it has that many bytes.
  [[nodiscard]] Stopwatch MeasureDownload(const std::string& path, uint64_t bytes);

 private:
  int fd_ = -1;
};

#endif  // BENCH_LIMIT_DOWNLOAD_H_
