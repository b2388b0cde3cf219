// Files and failures of the limit program. It measures and ends: whatever fails ends it, with a
// message.
#ifndef BENCH_LIMIT_FILE_H_
#define BENCH_LIMIT_FILE_H_

#include <cstddef>
#include <span>
#include <string>

using Bytes = std::span<const unsigned char>;

// Prints the message, with the text of `errno` when that is not zero, and ends the program.
[[noreturn]] void Fail(const std::string& message);

// The whole file in anonymous memory, which is never given back: no stage then waits for the file's
// own pages.
[[nodiscard]] Bytes ReadFile(const std::string& path);

// Writes all of it, however often the kernel takes only a part.
void WriteAll(int fd, Bytes bytes);

#endif  // BENCH_LIMIT_FILE_H_
