#pragma once

#include <string>
#include <string_view>

#include "layer/layer_end.h"

namespace cais {

// An end that writes down what it sees, one JSON object a line, and aborts the program when the
// reader breaks the contract of LayerEnd. Bytes are written as Latin-1 characters. Data that comes
// in several calls is joined, so that two readings of one tar compare equal however they were cut.
class RecordingEnd final : public LayerEnd {
 public:
  Status TarBytes(std::string_view bytes) override;
  Status Entry(TarEntry entry) override;
  Status FileData(uint64_t file_offset, std::string_view bytes) override;
  Status EndEntry() override;
  Result<EndSummary> Finish() override;

  const std::string& events() const { return events_; }

 private:
  void CheckRuns() const;

  std::string events_;
  std::string tar_;  // all of it, to compare data with
  std::string_view piece_;
  bool in_entry_ = false;
  TarEntry entry_;
  size_t run_ = 0;
  uint64_t run_done_bytes_ = 0;
  std::string data_;  // "[offset,"text"]" of what came
  std::string run_text_;
};

// `text` as a JSON string, bytes as Latin-1.
std::string JsonText(std::string_view text);

}  // namespace cais
