#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernel/result.h"

namespace cais {

class Workers;

enum class EntryType : uint8_t {
  kFile,
  kHardLink,
  kSymlink,
  kCharacter,
  kBlock,
  kDirectory,
  kFifo
};

// One run of data of a sparse file: `length` bytes at `file_offset` of the file are at `tar_offset`
// of the tar.
struct DataRun {
  uint64_t file_offset;
  uint64_t tar_offset;
  uint64_t length;
};

// One entry as the tar has it (pax and GNU extensions applied), names still raw and hostile:
// absolute, "..", "./", empty, not UTF-8. Never with a NUL, and within the limits of the reader.
struct TarEntry {
  EntryType type = EntryType::kFile;
  std::string name;
  std::string link;   // target of a hard or symbolic link
  uint32_t mode = 0;  // permission bits, 07777
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t mtime_seconds = 0;
  uint32_t mtime_nanos = 0;
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  uint64_t size = 0;  // of the file, holes included
  std::vector<DataRun>
      runs;  // ascending; one run for a plain file with data, none for an empty one
  std::vector<std::pair<std::string, std::string>> xattrs;  // full name, value
};

// What an end made of the layer.
struct EndSummary {
  uint64_t entries = 0;
  uint64_t layer_bytes = 0;
  std::vector<std::string> implied_directories;  // parents first
};

// One of the two ends of the layer pipeline: receives a tar as it passes, on one thread. Calls come
// as
//   { TarBytes* Entry FileData* EndEntry }* TarBytes* Finish
// TarBytes brings every byte of the tar in order (headers, data, padding, the end, trailing zeros),
// before the Entry or FileData that lies in it; the views are valid during the call only (but see
// Keep). After a Failure only the destructor follows: it stops, and leaves files for the caller to
// delete (the whole private directory is).
class LayerEnd {
 public:
  virtual ~LayerEnd() = default;
  // The views of the calls that follow lie in memory of `owner`, so whoever keeps it may use them
  // for longer. It belongs to a bounded pool: nobody may keep one after Release, but to finish at
  // once what needs it.
  virtual void Keep(const std::shared_ptr<const void>& owner) { (void)owner; }
  // There is nothing to read for now, perhaps because all of the pool is being kept.
  virtual void Release() {}
  virtual Status TarBytes(std::string_view bytes) = 0;
  virtual Status Entry(TarEntry entry) = 0;
  // Data of the current regular file: `bytes` belong at `file_offset`.
  virtual Status FileData(uint64_t file_offset, std::string_view bytes) = 0;
  virtual Status EndEntry() = 0;
  // The tar is complete and valid. No sync to disk here.
  virtual Result<EndSummary> Finish() = 0;
};

struct EndLimits {
  uint64_t max_entries;
  uint64_t max_metadata_bytes;
  uint64_t reserve_bytes;
};

// Ends that write "layer" into the directory `directory_fd` (borrowed).
Result<std::unique_ptr<LayerEnd>> OpenErofsImage(int directory_fd, const EndLimits& limits);
// Small files are made by `workers`, which must live longer; null: by the caller.
Result<std::unique_ptr<LayerEnd>> OpenDirectoryTree(int directory_fd, const EndLimits& limits,
                                                    Workers* workers);

}  // namespace cais
