#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "kernel/result.h"
#include "kernel/unique_fd.h"

namespace cais {

enum class OutputStream : uint8_t { kStdout = 0, kStderr = 1 };

// Writes a container's output as a CRI log: `TIMESTAMP STREAM P|F CONTENT`, one whole entry in each
// write. A line past 16 KiB is cut into P entries and a last F; all of them stay in one file also
// when the log is reopened meanwhile. An entry that cannot be written is dropped and counted: a
// full disk never holds the container up.
class LogWriter {
 public:
  static constexpr size_t kMaxContentBytes = 16384;

  struct Options {
    std::string directory;  // absolute, made (0755) when absent
    std::string path;       // below it, without links
    bool terminal = false;  // lines end in \r\n
  };
  static Result<std::unique_ptr<LogWriter>> Open(Options options);

  void Write(OutputStream stream, std::string_view bytes);
  // The end of a stream: an unfinished line becomes an F entry.
  void End(OutputStream stream);
  // Goes on in a new file of the same name. Afterwards nothing is added to the old one but the rest
  // of a line already begun there.
  Status Reopen();
  uint64_t dropped_entries() const { return dropped_entries_; }

 private:
  using File = std::shared_ptr<const UniqueFd>;
  struct Stream {
    std::string line;        // the current line, as far as not written
    bool continued = false;  // a P entry of it was written
    File old_file;           // set while a line begun before Reopen goes on
    size_t old_file_bytes_left = 0;
  };

  explicit LogWriter(Options options) : options_(std::move(options)) {}
  void Emit(OutputStream stream, bool full, std::string_view content);
  void Flush();
  std::string_view Timestamp();

  Options options_;
  File file_;
  Stream streams_[2];
  // Entries formatted but not yet written, all for one file.
  std::string batch_;
  File batch_file_;
  uint64_t dropped_entries_ = 0;
  // The text of the current second is kept.
  int64_t text_second_ = -1;
  char text_[32] = {};
};

}  // namespace cais
