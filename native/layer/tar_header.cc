#include "layer/tar_header.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "layer/entry_rules.h"

namespace cais {
namespace {

// Fields of the header block (POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic
// Tar Format").
struct Field {
  size_t offset;
  size_t bytes;
};
constexpr Field kName{0, 100};
constexpr Field kMode{100, 8};
constexpr Field kUid{108, 8};
constexpr Field kGid{116, 8};
constexpr Field kSize{124, 12};
constexpr Field kMtime{136, 12};
constexpr Field kChecksum{148, 8};
constexpr size_t kTypeOffset = 156;
constexpr Field kLink{157, 100};
constexpr Field kMagic{257, 6};
constexpr Field kMagicAndVersion{257, 8};
constexpr Field kMajor{329, 8};
constexpr Field kMinor{337, 8};
constexpr Field kPrefix{345, 155};
constexpr Field kStarPrefix{345, 131};
constexpr Field kGnuAccessTime{345, 12};
constexpr Field kGnuChangeTime{357, 12};
constexpr Field kStarTrailer{508, 4};

std::string_view Bytes(std::string_view block, Field field) {
  return block.substr(field.offset, field.bytes);
}

// Text ends at the first NUL, or fills its field.
std::string_view Text(std::string_view block, Field field) {
  const std::string_view bytes = Bytes(block, field);
  return bytes.substr(0, bytes.find('\0'));
}

Failure BadTar(std::string message) { return Refuse("BAD_TAR", std::move(message)); }

// Of the bytes of a block, as unsigned numbers: two at a time in each quarter of a word, which has
// room for the sum of all.
uint32_t SumOfBytes(std::string_view block) {
  constexpr uint64_t kEven = 0x00ff00ff00ff00ff;
  uint64_t sums = 0;
  for (size_t i = 0; i < kTarBlockBytes; i += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, block.data() + i, sizeof(word));
    sums += (word & kEven) + (word >> 8 & kEven);
  }
  sums = (sums & 0x0000ffff0000ffff) + (sums >> 16 & 0x0000ffff0000ffff);
  return static_cast<uint32_t>(sums) + static_cast<uint32_t>(sums >> 32);
}

// The checksum counts its own field as blanks. Old programs summed signed characters.
bool ChecksumMatches(std::string_view block) {
  const std::string_view own = Bytes(block, kChecksum);
  const Result<int64_t> stored = ParseTarNumber(own);
  if (!stored.ok()) return false;
  int64_t sum = SumOfBytes(block);
  for (const char c : own) sum += ' ' - static_cast<unsigned char>(c);
  if (stored.value() == sum) return true;
  const auto is_negative = [](char c) { return static_cast<signed char>(c) < 0; };
  const auto negative = std::count_if(block.begin(), block.end(), is_negative) -
                        std::count_if(own.begin(), own.end(), is_negative);
  return stored.value() == sum - 256 * negative;
}

TarFormat FormatOf(std::string_view block) {
  using namespace std::string_view_literals;
  if (Bytes(block, kMagicAndVersion) == "ustar  \0"sv) return TarFormat::kGnu;
  if (Bytes(block, kMagic) != "ustar\0"sv) return TarFormat::kV7;
  return Bytes(block, kStarTrailer) == "tar\0"sv ? TarFormat::kStar : TarFormat::kUstar;
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// GNU headers have times where ustar has a prefix. Go before 1.8 wrote a prefix there all the same,
// and layers from that time are still pulled: where the times cannot be times, it is a prefix.
bool HasMisplacedPrefix(std::string_view block) {
  for (const Field field : {kGnuAccessTime, kGnuChangeTime}) {
    const std::string_view bytes = Bytes(block, field);
    if (bytes[0] != '\0' && !ParseTarNumber(bytes).ok()) return IsAscii(Text(block, kPrefix));
  }
  return false;
}

std::string_view PrefixOf(std::string_view block, TarFormat format) {
  switch (format) {
    case TarFormat::kUstar:
      return Text(block, kPrefix);
    case TarFormat::kStar:
      return Text(block, kStarPrefix);
    case TarFormat::kGnu:
      return HasMisplacedPrefix(block) ? Text(block, kPrefix) : std::string_view();
    case TarFormat::kV7:
      break;
  }
  return {};
}

// Reads one number and checks its range; false leaves `failure` set.
class NumberReader {
 public:
  explicit NumberReader(std::string_view block) : block_(block) {}

  int64_t Read(Field field, const char* what, int64_t low, int64_t high) {
    const Result<int64_t> number = ParseTarNumber(Bytes(block_, field));
    if (number.ok() && number.value() >= low && number.value() <= high) return number.value();
    if (failure_.code.empty()) {
      failure_ = BadTar(std::string("The ") + what + " field of the header is no valid number: " +
                        QuoteName(Bytes(block_, field)));
    }
    return 0;
  }
  const Failure& failure() const { return failure_; }
  bool ok() const { return failure_.code.empty(); }

 private:
  std::string_view block_;
  Failure failure_;
};

}  // namespace

bool IsZeroBlock(std::string_view block) {
  return std::all_of(block.begin(), block.end(), [](char c) { return c == '\0'; });
}

Result<int64_t> ParseTarNumber(std::string_view field) {
  const auto first = static_cast<unsigned char>(field[0]);
  if ((first & 0x80) != 0) {
    // Two's complement, big-endian; the top bit of the first byte is the mark, the next the sign.
    const bool negative = (first & 0x40) != 0;
    const unsigned char flip = negative ? 0xff : 0x00;
    uint64_t magnitude = 0;
    for (size_t i = 0; i < field.size(); ++i) {
      auto byte = static_cast<unsigned char>(static_cast<unsigned char>(field[i]) ^ flip);
      if (i == 0) byte &= 0x7f;
      if (magnitude >> 55 != 0) return BadTar("A base-256 number is too large");
      magnitude = magnitude << 8 | byte;
    }
    const auto value = static_cast<int64_t>(magnitude);
    return negative ? -value - 1 : value;
  }
  const auto blank = [](char c) { return c == ' ' || c == '\0'; };
  while (!field.empty() && blank(field.front())) field.remove_prefix(1);
  field = field.substr(0, field.find('\0'));
  while (!field.empty() && blank(field.back())) field.remove_suffix(1);
  int64_t value = 0;
  for (const char c : field) {
    if (c < '0' || c > '7') return BadTar("An octal number has other characters");
    if (value > std::numeric_limits<int64_t>::max() >> 3) {
      return BadTar("An octal number is too large");
    }
    value = value << 3 | (c - '0');
  }
  return value;
}

Result<TarHeader> ParseTarHeader(std::string_view block) {
  if (!ChecksumMatches(block)) {
    return BadTar("The checksum of a header is wrong, or this is no tar");
  }
  // The owner -1 means "leave as it is" to chown(2), so it can be nobody's.
  constexpr int64_t kMaxId = std::numeric_limits<uint32_t>::max() - 1LL;
  constexpr int64_t kMaxSize = int64_t{1} << 60;
  TarHeader header;
  header.format = FormatOf(block);
  header.type = block[kTypeOffset];
  const std::string_view prefix = PrefixOf(block, header.format);
  if (!prefix.empty()) header.name.append(prefix).append("/");
  header.name += Text(block, kName);
  header.link = Text(block, kLink);

  NumberReader numbers(block);
  // Some programs put the file type into the mode; only the permission bits count.
  header.mode = static_cast<uint32_t>(
      numbers.Read(kMode, "mode", 0, std::numeric_limits<int64_t>::max()) & 07777);
  header.uid = static_cast<uint32_t>(numbers.Read(kUid, "uid", 0, kMaxId));
  header.gid = static_cast<uint32_t>(numbers.Read(kGid, "gid", 0, kMaxId));
  header.size = static_cast<uint64_t>(numbers.Read(kSize, "size", 0, kMaxSize));
  header.mtime_seconds = numbers.Read(kMtime, "mtime", std::numeric_limits<int64_t>::min(),
                                      std::numeric_limits<int64_t>::max());
  if (header.type == '3' || header.type == '4') {
    // The widths of the kernel's dev_t.
    header.device_major =
        static_cast<uint32_t>(numbers.Read(kMajor, "device major", 0, (1 << 12) - 1));
    header.device_minor =
        static_cast<uint32_t>(numbers.Read(kMinor, "device minor", 0, (1 << 20) - 1));
  }
  if (!numbers.ok()) return numbers.failure();
  return header;
}

}  // namespace cais
