#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/result.h"

namespace cais {

// Writes a record of PROTOCOL.md: fields `u16 tag | u16 zero | u32 length | bytes`, little-endian.
class RecordWriter {
 public:
  template <typename Tag>
  RecordWriter& Number(Tag tag, int64_t value) {
    return PutNumber(static_cast<uint16_t>(tag), value);
  }
  template <typename Tag>
  RecordWriter& Bytes(Tag tag, std::string_view bytes) {
    return PutBytes(static_cast<uint16_t>(tag), bytes);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  RecordWriter& PutNumber(uint16_t tag, int64_t value);
  RecordWriter& PutBytes(uint16_t tag, std::string_view bytes);
  std::string bytes_;
};

// Takes a record apart. Every getter marks its tag as known; Finish then refuses an unknown field
// below 0x8000 and whatever was wrong before. The reader borrows the bytes.
class RecordReader {
 public:
  explicit RecordReader(std::string_view record);

  template <typename Tag>
  int64_t Number(Tag tag, int64_t absent = 0) {
    return GetNumber(static_cast<uint16_t>(tag), absent);
  }
  template <typename Tag>
  bool Flag(Tag tag) {
    return Number(tag) != 0;
  }
  // A string; one with a NUL inside makes Finish fail.
  template <typename Tag>
  std::string Text(Tag tag) {
    return GetText(static_cast<uint16_t>(tag));
  }
  template <typename Tag>
  std::vector<std::string> Texts(Tag tag) {
    return GetTexts(static_cast<uint16_t>(tag));
  }
  template <typename Tag>
  std::vector<int64_t> Numbers(Tag tag) {
    return GetNumbers(static_cast<uint16_t>(tag));
  }
  // Raw bytes, for nested records and blobs.
  template <typename Tag>
  std::vector<std::string_view> All(Tag tag) {
    return GetAll(static_cast<uint16_t>(tag));
  }
  template <typename Tag>
  bool Has(Tag tag) {
    return !All(tag).empty();
  }

  // Failure EPROTO, with a sentence in `path`.
  Status Finish();
  // Lets a decoder refuse a value; the first refusal is what Finish says.
  void Refuse(std::string reason);

 private:
  struct Field {
    uint16_t tag;
    std::string_view bytes;
  };

  int64_t GetNumber(uint16_t tag, int64_t absent);
  std::string GetText(uint16_t tag);
  std::vector<std::string> GetTexts(uint16_t tag);
  std::vector<int64_t> GetNumbers(uint16_t tag);
  std::vector<std::string_view> GetAll(uint16_t tag);
  int64_t Decode(const Field& field);

  std::vector<Field> fields_;
  std::set<uint16_t> known_;
  std::string refused_;
};

}  // namespace cais
