#include "kernel/control_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include "kernel/unique_fd.h"

namespace cais {

namespace {
// No control file is near it (cgroup.procs of a huge cgroup is the longest).
constexpr size_t kMaxControlBytes = 16 << 20;
}  // namespace

Status WriteControl(const std::string& path, const std::string& value) {
  const UniqueFd file(open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return Errno("open", path);
  // Never in two writes: each is a request of its own.
  ssize_t written;
  do {
    written = write(file.get(), value.data(), value.size());
  } while (written < 0 && errno == EINTR);
  if (written < 0) return Errno(("write \"" + value + "\" to").c_str(), path);
  return Done{};
}

Result<std::string> ReadControl(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return Errno("open", path);
  std::string content;
  for (;;) {
    char piece[4096];
    const ssize_t count = read(file.get(), piece, sizeof piece);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Errno("read", path);
    if (count == 0) break;
    content.append(piece, static_cast<size_t>(count));
    if (content.size() > kMaxControlBytes) {
      return Refuse("LIMIT_EXCEEDED", "\"" + path + "\" is longer than 16 MiB");
    }
  }
  while (!content.empty() && content.back() == '\n') content.pop_back();
  return content;
}

bool ControlExists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

Result<int64_t> ReadControlNumber(const std::string& path) {
  Result<std::string> text = ReadControl(path);
  if (!text.ok()) return text.failure();
  if (text.value() == "max") return int64_t{-1};
  return static_cast<int64_t>(strtoull(text.value().c_str(), nullptr, 10));
}

Result<FlatKeys> ReadControlKeys(const std::string& path) {
  Result<std::string> text = ReadControl(path);
  if (!text.ok()) return text.failure();
  const std::vector<std::string> words = SplitWords(text.value());
  FlatKeys keys;
  for (size_t i = 0; i + 1 < words.size(); i += 2) {
    keys.emplace_back(words[i], strtoll(words[i + 1].c_str(), nullptr, 10));
  }
  return keys;
}

int64_t KeyValue(const FlatKeys& keys, const std::string& name) {
  for (const auto& [key, value] : keys) {
    if (key == name) return value;
  }
  return 0;
}

std::vector<std::string> SplitWords(const std::string& text) {
  std::vector<std::string> words;
  size_t start = 0;
  while ((start = text.find_first_not_of(" \t\n", start)) != std::string::npos) {
    const size_t end = text.find_first_of(" \t\n", start);
    words.push_back(text.substr(start, end - start));
    start = end;
    if (end == std::string::npos) break;
  }
  return words;
}

}  // namespace cais
