#include "supervisor/log_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <cstdio>

#include "kernel/syscalls.h"

namespace cais {

namespace {

constexpr size_t kBatchBytes = 64 << 10;
// How much of one endless line may still go to a file that was rotated away.
constexpr size_t kMaxCarriedBytes = 256 << 10;

Status MakeDirectories(const std::string& path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string prefix = path.substr(0, end);
    if (mkdir(prefix.c_str(), 0755) != 0 && errno != EEXIST) return Errno("mkdir", prefix);
    if (end == std::string::npos) return Done{};
  }
}

UniqueFd OpenBelow(int directory_fd, const std::string& path, int flags, mode_t mode) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return UniqueFd(OpenAt2(directory_fd, path.c_str(), how));
}

// The log file below its directory. Other users may be able to write to parts of that directory, so
// no link is followed, and only a regular file is taken.
Result<UniqueFd> OpenLogFile(const LogWriter::Options& options) {
  const std::string shown = options.directory + "/" + options.path;
  Status made = MakeDirectories(options.directory);
  if (!made.ok()) return made.failure();
  UniqueFd directory(open(options.directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return Errno("open", options.directory);
  size_t start = 0;
  for (size_t end = options.path.find('/'); end != std::string::npos;
       end = options.path.find('/', start)) {
    const std::string name = options.path.substr(start, end - start);
    start = end + 1;
    if (name.empty() || name == ".") continue;
    UniqueFd next = OpenBelow(directory.get(), name, O_PATH | O_DIRECTORY, 0);
    if (!next && errno == ENOENT) {
      if (mkdirat(directory.get(), name.c_str(), 0755) != 0 && errno != EEXIST) {
        return Errno("mkdir", shown);
      }
      next = OpenBelow(directory.get(), name, O_PATH | O_DIRECTORY, 0);
    }
    if (!next) return Errno("open", shown);
    directory = std::move(next);
  }
  UniqueFd file =
      OpenBelow(directory.get(), options.path.substr(start),
                O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0640);
  if (!file) return Errno("open", shown);
  struct stat status;
  if (fstat(file.get(), &status) != 0) return Errno("fstat", shown);
  if (!S_ISREG(status.st_mode)) return Failure{EINVAL, "check that it is a file", shown, {}};
  return file;
}

const char* StreamName(OutputStream stream) {
  return stream == OutputStream::kStdout ? "stdout" : "stderr";
}

}  // namespace

Result<std::unique_ptr<LogWriter>> LogWriter::Open(Options options) {
  std::unique_ptr<LogWriter> writer(new LogWriter(std::move(options)));
  Result<UniqueFd> file = OpenLogFile(writer->options_);
  if (!file.ok()) return file.failure();
  writer->file_ = std::make_shared<const UniqueFd>(std::move(file.value()));
  return writer;
}

Status LogWriter::Reopen() {
  Result<UniqueFd> file = OpenLogFile(options_);
  if (!file.ok()) return file.failure();
  for (Stream& stream : streams_) {
    if (!stream.continued || stream.old_file) continue;
    stream.old_file = file_;
    stream.old_file_bytes_left = kMaxCarriedBytes;
  }
  file_ = std::make_shared<const UniqueFd>(std::move(file.value()));
  return Done{};
}

void LogWriter::Write(OutputStream id, std::string_view bytes) {
  Stream& stream = streams_[static_cast<int>(id)];
  while (!bytes.empty()) {
    const size_t newline = bytes.find('\n');
    const bool ended = newline != std::string_view::npos;
    std::string_view piece = bytes.substr(0, newline);
    bytes.remove_prefix(ended ? newline + 1 : bytes.size());
    while (stream.line.size() + piece.size() > kMaxContentBytes) {
      const size_t taken = kMaxContentBytes - stream.line.size();
      stream.line.append(piece.substr(0, taken));
      piece.remove_prefix(taken);
      Emit(id, false, stream.line);
      stream.line.clear();
    }
    if (!ended) {
      stream.line.append(piece);
      break;
    }
    if (stream.line.empty() && !options_.terminal) {
      Emit(id, true, piece);
      continue;
    }
    stream.line.append(piece);
    if (options_.terminal && stream.line.ends_with('\r')) stream.line.pop_back();
    Emit(id, true, stream.line);
    stream.line.clear();
  }
  Flush();
}

void LogWriter::End(OutputStream id) {
  Stream& stream = streams_[static_cast<int>(id)];
  // A reader would wait for ever for the end of a line that stopped at P.
  if (!stream.line.empty() || stream.continued) Emit(id, true, stream.line);
  stream.line = std::string();
  Flush();
}

void LogWriter::Emit(OutputStream id, bool full, std::string_view content) {
  Stream& stream = streams_[static_cast<int>(id)];
  const File target = stream.old_file ? stream.old_file : file_;
  if (target != batch_file_ || batch_.size() >= kBatchBytes) Flush();
  batch_file_ = target;
  if (stream.old_file) {
    stream.old_file_bytes_left -= std::min(stream.old_file_bytes_left, content.size());
    full = full || stream.old_file_bytes_left == 0;
    if (full) stream.old_file.reset();
  }
  stream.continued = !full;
  batch_.append(Timestamp()).append(" ").append(StreamName(id)).append(full ? " F " : " P ");
  batch_.append(content).append("\n");
}

void LogWriter::Flush() {
  if (batch_.empty()) return;
  const int fd = batch_file_->get();
  size_t written = 0;
  while (written < batch_.size()) {
    const ssize_t count = write(fd, batch_.data() + written, batch_.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) break;
    written += static_cast<size_t>(count);
  }
  if (written < batch_.size()) {
    // Cut back to whole entries, so that the next one does not stick to half a line.
    const size_t newline = written == 0 ? std::string::npos : batch_.rfind('\n', written - 1);
    const size_t whole = newline == std::string::npos ? 0 : newline + 1;
    struct stat status;
    if (whole < written && fstat(fd, &status) == 0) {
      (void)ftruncate(fd, status.st_size - static_cast<off_t>(written - whole));
    }
    dropped_entries_ += static_cast<uint64_t>(
        std::count(batch_.begin() + static_cast<ptrdiff_t>(whole), batch_.end(), '\n'));
  }
  batch_.clear();
  batch_file_.reset();
}

// RFC 3339 in UTC with nine digits.
std::string_view LogWriter::Timestamp() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  constexpr size_t kSecondsLength = sizeof "2016-10-06T00:17:09" - 1;
  if (now.tv_sec != text_second_) {
    tm parts;
    gmtime_r(&now.tv_sec, &parts);
    strftime(text_, sizeof text_, "%Y-%m-%dT%H:%M:%S", &parts);
    text_second_ = now.tv_sec;
  }
  const int length = snprintf(text_ + kSecondsLength, sizeof text_ - kSecondsLength, ".%09ldZ",
                              static_cast<long>(now.tv_nsec));
  return {text_, kSecondsLength + static_cast<size_t>(length)};
}

}  // namespace cais
