#include "supervisor/record.h"

#include <endian.h>

#include <cstring>

#include "supervisor/protocol.h"

namespace cais {

RecordWriter& RecordWriter::PutNumber(uint16_t tag, int64_t value) {
  const uint64_t wire = htole64(static_cast<uint64_t>(value));
  return PutBytes(tag, {reinterpret_cast<const char*>(&wire), sizeof wire});
}

RecordWriter& RecordWriter::PutBytes(uint16_t tag, std::string_view bytes) {
  const uint16_t head[2] = {htole16(tag), 0};
  const uint32_t length = htole32(static_cast<uint32_t>(bytes.size()));
  bytes_.append(reinterpret_cast<const char*>(head), sizeof head);
  bytes_.append(reinterpret_cast<const char*>(&length), sizeof length);
  bytes_.append(bytes);
  return *this;
}

RecordReader::RecordReader(std::string_view record) {
  while (!record.empty()) {
    if (record.size() < kFieldHeaderBytes) {
      Refuse("a record ends inside a field header");
      return;
    }
    uint16_t head[2];
    uint32_t length;
    memcpy(head, record.data(), sizeof head);
    memcpy(&length, record.data() + sizeof head, sizeof length);
    const uint16_t tag = le16toh(head[0]);
    length = le32toh(length);
    record.remove_prefix(kFieldHeaderBytes);
    if (head[1] != 0 || length > record.size()) {
      Refuse("field " + std::to_string(tag) + " is longer than its record or has no zero bytes");
      return;
    }
    fields_.push_back({tag, record.substr(0, length)});
    record.remove_prefix(length);
  }
}

int64_t RecordReader::Decode(const Field& field) {
  uint64_t wire = 0;
  if (field.bytes.size() != sizeof wire) {
    Refuse("field " + std::to_string(field.tag) + " is no number");
    return 0;
  }
  memcpy(&wire, field.bytes.data(), sizeof wire);
  return static_cast<int64_t>(le64toh(wire));
}

int64_t RecordReader::GetNumber(uint16_t tag, int64_t absent) {
  const std::vector<int64_t> values = GetNumbers(tag);
  return values.empty() ? absent : values.back();
}

std::vector<int64_t> RecordReader::GetNumbers(uint16_t tag) {
  known_.insert(tag);
  std::vector<int64_t> values;
  for (const Field& field : fields_) {
    if (field.tag == tag) values.push_back(Decode(field));
  }
  return values;
}

std::string RecordReader::GetText(uint16_t tag) {
  std::vector<std::string> values = GetTexts(tag);
  return values.empty() ? std::string() : std::move(values.back());
}

std::vector<std::string> RecordReader::GetTexts(uint16_t tag) {
  std::vector<std::string> values;
  for (std::string_view bytes : GetAll(tag)) {
    if (bytes.find('\0') != std::string_view::npos) {
      Refuse("field " + std::to_string(tag) + " holds a NUL byte");
    }
    values.emplace_back(bytes);
  }
  return values;
}

std::vector<std::string_view> RecordReader::GetAll(uint16_t tag) {
  known_.insert(tag);
  std::vector<std::string_view> values;
  for (const Field& field : fields_) {
    if (field.tag == tag) values.push_back(field.bytes);
  }
  return values;
}

void RecordReader::Refuse(std::string reason) {
  if (refused_.empty()) refused_ = std::move(reason);
}

Status RecordReader::Finish() {
  for (const Field& field : fields_) {
    if (field.tag < kFirstOptionalTag && !known_.contains(field.tag)) {
      Refuse("unknown field " + std::to_string(field.tag));
    }
  }
  if (!refused_.empty()) return Failure{EPROTO, "record", refused_, {}};
  return Done{};
}

}  // namespace cais
