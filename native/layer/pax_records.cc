#include "layer/pax_records.h"

#include <charconv>
#include <limits>
#include <utility>

#include "layer/entry_rules.h"
#include "layer/sparse_map.h"

namespace cais {
namespace {

// XATTR_NAME_MAX and XATTR_SIZE_MAX of Linux.
constexpr size_t kMaxXattrNameBytes = 255;
constexpr size_t kMaxXattrValueBytes = 65536;
constexpr uint64_t kMaxSize = uint64_t{1} << 60;
constexpr uint64_t kMaxId = std::numeric_limits<uint32_t>::max() - 1ULL;

constexpr std::string_view kSchilyXattr = "SCHILY.xattr.";
constexpr std::string_view kLibarchiveXattr = "LIBARCHIVE.xattr.";

Failure BadRecord(std::string_view key, std::string_view value, const char* expected) {
  return Refuse("BAD_TAR", "The pax record " + QuoteName(key) + " has the value " +
                               QuoteName(value) + ", expected " + expected);
}

// Decimal digits only: no sign, no blank.
std::optional<uint64_t> ParseDecimal(std::string_view text) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

// Seconds since the epoch with a sign and a fraction; digits after the ninth are cut off.
std::optional<PaxRecords::Time> ParseTime(std::string_view text) {
  const bool negative = !text.empty() && text[0] == '-';
  if (negative) text.remove_prefix(1);
  const size_t dot = text.find('.');
  const std::optional<uint64_t> seconds = ParseDecimal(text.substr(0, dot));
  if (!seconds || *seconds > uint64_t{1} << 62) return std::nullopt;
  uint32_t nanos = 0;
  if (dot != std::string_view::npos) {
    uint32_t scale = 100'000'000;
    for (const char c : text.substr(dot + 1)) {
      if (c < '0' || c > '9') return std::nullopt;
      nanos += static_cast<uint32_t>(c - '0') * scale;
      scale /= 10;
    }
  }
  const auto whole = static_cast<int64_t>(*seconds);
  if (!negative) return PaxRecords::Time{whole, nanos};
  // -1.5 is half a second after -2.
  if (nanos == 0) return PaxRecords::Time{-whole, 0};
  return PaxRecords::Time{-whole - 1, 1'000'000'000 - nanos};
}

int Base64Digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

// libarchive writes no padding; some copies of it do.
std::optional<std::string> DecodeBase64(std::string_view text) {
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  if (text.size() % 4 == 1) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int digit = Base64Digit(c);
    if (digit < 0) return std::nullopt;
    bits = (bits << 6 | static_cast<uint32_t>(digit)) & 0xffffff;
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes += static_cast<char>(bits >> count & 0xff);
    }
  }
  return bytes;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// %XX only; a percent sign without two digits stands for itself, as in libarchive.
std::string DecodePercent(std::string_view text) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && HexDigit(text[i + 1]) >= 0 &&
        HexDigit(text[i + 2]) >= 0) {
      bytes += static_cast<char>(HexDigit(text[i + 1]) << 4 | HexDigit(text[i + 2]));
      i += 2;
    } else {
      bytes += text[i];
    }
  }
  return bytes;
}

Status SetXattr(std::string name, std::string value, PaxRecords& records) {
  if (name.empty() || name.find('\0') != std::string::npos) {
    return BadRecord(name, value, "a name of an extended attribute");
  }
  if (name.size() > kMaxXattrNameBytes) {
    return Refuse("LIMIT_EXCEEDED", "The name of the extended attribute " + QuoteName(name) +
                                        " is longer than 255 bytes");
  }
  if (value.size() > kMaxXattrValueBytes) {
    return Refuse("LIMIT_EXCEEDED", "The value of the extended attribute " + QuoteName(name) +
                                        " is longer than 65536 bytes");
  }
  records.xattrs.insert_or_assign(std::move(name), std::move(value));
  return Done{};
}

Status SetText(std::string_view key, std::string_view value, std::optional<std::string>& field) {
  if (value.find('\0') != std::string_view::npos) return BadRecord(key, value, "no NUL character");
  if (value.empty()) {
    field.reset();
  } else {
    field = value;
  }
  return Done{};
}

template <typename T>
Status SetNumber(std::string_view key, std::string_view value, uint64_t high,
                 std::optional<T>& field) {
  if (value.empty()) {
    field.reset();
    return Done{};
  }
  const std::optional<uint64_t> number = ParseDecimal(value);
  if (!number || *number > high) return BadRecord(key, value, "a number in its range");
  field = static_cast<T>(*number);
  return Done{};
}

// One number of a sparse map; `turn` is 0 for an offset and 1 for a length.
Status AddToSparseMap(std::string_view key, std::string_view value, size_t turn,
                      PaxRecords& records) {
  const std::optional<uint64_t> number = ParseDecimal(value);
  if (!number || *number > kMaxSize) return BadRecord(key, value, "a number in its range");
  if (records.sparse_map.size() % 2 != turn) {
    return BadRecord(key, value, "offsets and lengths by turns");
  }
  if (records.sparse_map.size() >= 2 * kMaxSparseRuns) return TooManySparseRuns();
  records.sparse_map.push_back(*number);
  records.has_sparse_map = true;
  return Done{};
}

Status SetSparseMap(std::string_view key, std::string_view value, PaxRecords& records) {
  records.sparse_map.clear();
  records.has_sparse_map = true;
  while (!value.empty()) {
    const size_t comma = value.find(',');
    const Status added =
        AddToSparseMap(key, value.substr(0, comma), records.sparse_map.size() % 2, records);
    if (!added.ok()) return added;
    if (comma == std::string_view::npos) break;
    value.remove_prefix(comma + 1);
  }
  return Done{};
}

Status SetSparse(std::string_view key, std::string_view value, PaxRecords& records) {
  const std::string_view name = key.substr(std::string_view("GNU.sparse.").size());
  if (name == "major") return SetText(key, value, records.sparse_major);
  if (name == "minor") return SetText(key, value, records.sparse_minor);
  if (name == "name") return SetText(key, value, records.sparse_name);
  if (name == "size" || name == "realsize") {
    return SetNumber(key, value, kMaxSize, records.sparse_real_size);
  }
  if (name == "offset") return AddToSparseMap(key, value, 0, records);
  if (name == "numbytes") return AddToSparseMap(key, value, 1, records);
  if (name == "map") return SetSparseMap(key, value, records);
  return Done{};
}

Status SetRecord(std::string_view key, std::string_view value, PaxRecords& records) {
  if (key == "path") return SetText(key, value, records.path);
  if (key == "linkpath") return SetText(key, value, records.link_path);
  if (key == "size") return SetNumber(key, value, kMaxSize, records.size);
  if (key == "uid") return SetNumber(key, value, kMaxId, records.uid);
  if (key == "gid") return SetNumber(key, value, kMaxId, records.gid);
  if (key == "mtime") {
    records.mtime = ParseTime(value);
    if (!records.mtime && !value.empty()) return BadRecord(key, value, "a time in seconds");
    return Done{};
  }
  if (key.starts_with(kSchilyXattr)) {
    return SetXattr(std::string(key.substr(kSchilyXattr.size())), std::string(value), records);
  }
  if (key.starts_with(kLibarchiveXattr)) {
    std::optional<std::string> decoded = DecodeBase64(value);
    if (!decoded) return BadRecord(key, value, "base64");
    return SetXattr(DecodePercent(key.substr(kLibarchiveXattr.size())), *std::move(decoded),
                    records);
  }
  if (key.starts_with("GNU.sparse.")) return SetSparse(key, value, records);
  return Done{};
}

}  // namespace

Status ParsePaxRecords(std::string_view body, PaxRecords& records) {
  while (!body.empty()) {
    const size_t blank = body.find(' ');
    const std::optional<uint64_t> length = ParseDecimal(body.substr(0, blank));
    if (!length || blank == std::string_view::npos || *length <= blank + 1 ||
        *length > body.size() || body[*length - 1] != '\n') {
      return Refuse("BAD_TAR", "A pax record is malformed: " + QuoteName(body.substr(0, 60)));
    }
    const std::string_view record = body.substr(blank + 1, *length - blank - 2);
    const size_t equals = record.find('=');
    if (equals == std::string_view::npos || equals == 0) {
      return Refuse("BAD_TAR", "A pax record has no keyword: " + QuoteName(record.substr(0, 60)));
    }
    const Status set = SetRecord(record.substr(0, equals), record.substr(equals + 1), records);
    if (!set.ok()) return set;
    body.remove_prefix(*length);
  }
  return Done{};
}

}  // namespace cais
