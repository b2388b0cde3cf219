#include "layer/mend_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace cais {
namespace {

constexpr uint64_t kBlockBytes = 512;

// A name of a tar for a path below the root.
std::string TarName(const std::string& path) { return path.empty() ? "./" : path; }

std::string WhiteoutName(const std::string& path) {
  const size_t slash = path.rfind('/');
  const size_t start = slash == std::string::npos ? 0 : slash + 1;
  return path.substr(0, start) + ".wh." + path.substr(start);
}

}  // namespace

Status MendWriter::Write(const MendEntries& entries) {
  for (const auto& [path, entry] : entries) {
    const Status written = WriteEntry(path, entry);
    if (!written.ok()) return written;
  }
  return Done{};
}

Status MendWriter::WriteEntry(const std::string& path, const MendEntry& entry) {
  if (entry.kind == MendEntry::Kind::kCopy) return WriteCopy(path, entry);
  TarEntry made;
  made.name = TarName(path);
  made.type = EntryType::kDirectory;
  made.mode = 0755;
  if (entry.kind == MendEntry::Kind::kWhiteout) {
    made.name = WhiteoutName(path);
    made.type = EntryType::kFile;
  }
  const Status added = end_.Entry(std::move(made));
  if (!added.ok()) return added;
  return end_.EndEntry();
}

Status MendWriter::WriteCopy(const std::string& path, const MendEntry& entry) {
  Result<LayerLookup> found = LookUp(chain_[entry.layer], entry.source);
  if (!found.ok()) return found.failure();
  if (!found.value().found()) return Failure{ENOENT, "openat", entry.source, {}};
  const struct stat& status = found.value().status;
  Result<TarEntry> described = DescribeObject(found.value().fd.get(), status);
  if (!described.ok()) return described.failure();
  TarEntry& made = described.value();
  made.name = TarName(path);
  if (!S_ISDIR(status.st_mode) && status.st_nlink > 1) {
    const auto [first, is_first] =
        linked_.try_emplace({entry.layer, {status.st_dev, status.st_ino}}, path);
    if (!is_first) {
      made.type = EntryType::kHardLink;
      made.link = first->second;
      made.size = 0;
    }
  }
  if (made.type == EntryType::kFile) {
    return WriteFile(std::move(made), found.value().fd.get());
  }
  const Status added = end_.Entry(std::move(made));
  if (!added.ok()) return added;
  return end_.EndEntry();
}

Status MendWriter::WriteFile(TarEntry entry, int path_fd) {
  // The O_PATH descriptor has been found to be a regular file: opening it by this name reaches
  // nothing else.
  const UniqueFd fd(::open(("/proc/self/fd/" + std::to_string(path_fd)).c_str(),
                           O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd) return Errno("open", entry.name);
  uint64_t next = tar_offset_;
  const auto size = static_cast<off_t>(entry.size);
  for (off_t at = 0; at < size;) {
    const off_t data = ::lseek(fd.get(), at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    if (data < 0) return Errno("lseek", entry.name);
    const off_t hole = ::lseek(fd.get(), data, SEEK_HOLE);
    if (hole < 0) return Errno("lseek", entry.name);
    const uint64_t length = static_cast<uint64_t>(std::min(hole, size) - data);
    entry.runs.push_back({static_cast<uint64_t>(data), next, length});
    next = (next + length + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    at = hole;
  }
  const std::vector<DataRun> runs = entry.runs;
  const Status added = end_.Entry(std::move(entry));
  if (!added.ok()) return added;
  for (const DataRun& run : runs) {
    Status written = WriteData(fd.get(), run);
    if (written.ok()) written = Pad();
    if (!written.ok()) return written;
  }
  return end_.EndEntry();
}

Status MendWriter::WriteData(int fd, const DataRun& run) {
  const auto buffer = std::make_unique_for_overwrite<std::array<char, 256 * 1024>>();
  for (uint64_t done = 0; done < run.length;) {
    const size_t wanted = std::min<uint64_t>(buffer->size(), run.length - done);
    const ssize_t got =
        ::pread(fd, buffer->data(), wanted, static_cast<off_t>(run.file_offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Errno("pread");
    if (got == 0) return Failure{EIO, "pread", "a layer ends early", {}};
    const std::string_view bytes(buffer->data(), static_cast<size_t>(got));
    Status written = end_.TarBytes(bytes);
    if (written.ok()) written = end_.FileData(run.file_offset + done, bytes);
    if (!written.ok()) return written;
    done += static_cast<uint64_t>(got);
    tar_offset_ += static_cast<uint64_t>(got);
  }
  return Done{};
}

Status MendWriter::Pad() {
  static constexpr std::array<char, kBlockBytes> kZeros{};
  const uint64_t missing = (kBlockBytes - tar_offset_ % kBlockBytes) % kBlockBytes;
  tar_offset_ += missing;
  return end_.TarBytes({kZeros.data(), missing});
}

}  // namespace cais
