#include "recording_end.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace cais {
namespace {

constexpr const char* kTypeNames[] = {"file",  "hardlink",  "symlink", "character",
                                      "block", "directory", "fifo"};

void Require(bool holds, const char* rule) {
  if (holds) return;
  std::fprintf(stderr, "broken contract of LayerEnd: %s\n", rule);
  std::abort();
}

}  // namespace

std::string JsonText(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '"' && c != '\\') {
      json += c;
      continue;
    }
    char escaped[8];
    std::snprintf(escaped, sizeof escaped, "\\u%04x", byte);
    json += escaped;
  }
  return json + "\"";
}

Status RecordingEnd::TarBytes(std::string_view bytes) {
  tar_.append(bytes);
  piece_ = bytes;
  return Done{};
}

void RecordingEnd::CheckRuns() const {
  uint64_t covered = 0;
  for (const DataRun& run : entry_.runs) {
    Require(run.length > 0, "no empty runs");
    Require(run.file_offset >= covered, "runs ascend");
    Require(run.length <= entry_.size && run.file_offset <= entry_.size - run.length,
            "runs lie in the file");
    covered = run.file_offset + run.length;
  }
  Require(entry_.runs.empty() || entry_.type == EntryType::kFile, "only files have data");
}

Status RecordingEnd::Entry(TarEntry entry) {
  Require(!in_entry_, "Entry only after EndEntry");
  Require(entry.name.find('\0') == std::string::npos, "no NUL in names");
  Require(entry.link.find('\0') == std::string::npos, "no NUL in links");
  in_entry_ = true;
  entry_ = std::move(entry);
  CheckRuns();
  run_ = 0;
  run_done_bytes_ = 0;
  data_.clear();
  run_text_.clear();
  return Done{};
}

Status RecordingEnd::FileData(uint64_t file_offset, std::string_view bytes) {
  Require(in_entry_ && run_ < entry_.runs.size(), "data only for a run");
  Require(!bytes.empty() && bytes.data() >= piece_.data() &&
              bytes.data() + bytes.size() <= piece_.data() + piece_.size(),
          "data lies in the bytes passed before");
  const DataRun& run = entry_.runs[run_];
  Require(file_offset == run.file_offset + run_done_bytes_, "data has its place in the file");
  Require(bytes.size() <= run.length - run_done_bytes_, "data ends with its run");
  Require(std::string_view(tar_).substr(run.tar_offset + run_done_bytes_, bytes.size()) == bytes,
          "data is where the run says");
  run_text_.append(bytes);
  run_done_bytes_ += bytes.size();
  if (run_done_bytes_ == run.length) {
    if (!data_.empty()) data_ += ",";
    data_ += "[" + std::to_string(run.file_offset) + "," + JsonText(run_text_) + "]";
    run_text_.clear();
    run_done_bytes_ = 0;
    ++run_;
  }
  return Done{};
}

Status RecordingEnd::EndEntry() {
  Require(in_entry_, "EndEntry after Entry");
  Require(run_ == entry_.runs.size(), "all data has come");
  in_entry_ = false;
  const auto number = [](uint64_t value) { return std::to_string(value); };
  std::string line = "{\"type\":\"" + std::string(kTypeNames[static_cast<size_t>(entry_.type)]);
  line += "\",\"name\":" + JsonText(entry_.name) + ",\"link\":" + JsonText(entry_.link);
  line += ",\"mode\":" + number(entry_.mode) + ",\"uid\":" + number(entry_.uid);
  line += ",\"gid\":" + number(entry_.gid) + ",\"size\":" + number(entry_.size);
  line += ",\"mtime\":[\"" + std::to_string(entry_.mtime_seconds) + "\"," +
          number(entry_.mtime_nanos) + "]";
  line += ",\"device\":[" + number(entry_.device_major) + "," + number(entry_.device_minor) + "]";
  line += ",\"xattrs\":{";
  for (const auto& [name, value] : entry_.xattrs) {
    if (line.back() != '{') line += ",";
    line += JsonText(name) + ":" + JsonText(value);
  }
  events_ += line + "},\"data\":[" + data_ + "]}\n";
  return Done{};
}

Result<EndSummary> RecordingEnd::Finish() {
  Require(!in_entry_, "Finish between entries");
  events_ += "{\"tarBytes\":" + std::to_string(tar_.size()) + "}\n";
  return EndSummary{};
}

}  // namespace cais
