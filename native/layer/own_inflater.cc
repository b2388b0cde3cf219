#include <zlib.h>

#include <algorithm>
#include <string>

#include "layer/gzip_inflater.h"
#include "layer/inflate.h"

namespace cais {
namespace {

constexpr uint32_t kMagic = 0x8b1f;
constexpr uint32_t kDeflate = 8;
// Flags of the header (RFC 1952, 2.3.1).
constexpr unsigned kHeaderCrc = 0x02;
constexpr unsigned kExtra = 0x04;
constexpr unsigned kName = 0x08;
constexpr unsigned kComment = 0x10;
constexpr unsigned kReserved = 0xe0;

// The wrapping of gzip around our own decoder.
class OwnInflater final : public GzipInflater {
 public:
  explicit OwnInflater(bool verify_checksums) : verify_checksums_(verify_checksums) {}

  Result<Step> Run(std::string_view input, char* output, size_t output_bytes) override {
    std::string_view rest = input;
    size_t produced = 0;
    const char* fault = nullptr;
    while (fault == nullptr && part_ < Part::kData && TakeHeader(rest, fault)) {
    }
    if (fault == nullptr && part_ == Part::kData) {
      const Inflate::Step step =
          inflate_.Run(reinterpret_cast<const uint8_t*>(rest.data()), rest.size(),
                       reinterpret_cast<uint8_t*>(output), output_bytes);
      fault = step.fault;
      produced = step.produced;
      rest.remove_prefix(step.consumed);
      length_ += static_cast<uint32_t>(produced);
      if (verify_checksums_) check_ = Crc(check_, {output, produced});
      if (step.ended) Begin(Part::kCheck);
    }
    while (fault == nullptr && part_ > Part::kData && TakeTrailer(rest, fault)) {
    }
    if (fault != nullptr) {
      return Refuse("BAD_COMPRESSION", std::string("Cannot decompress gzip: ") + fault);
    }
    return Step{input.size() - rest.size(), produced, part_ == Part::kEnd};
  }

  void Reset() override {
    inflate_.Reset();
    Begin(Part::kMagic);
    flags_ = 0;
    header_check_ = 0;
    check_ = 0;
    length_ = 0;
  }

 private:
  enum class Part {
    kMagic,
    kMethod,
    kTime,  // and what made it
    kExtraLength,
    kExtra,
    kName,
    kComment,
    kHeaderCrc,
    kData,
    kCheck,
    kLength,
    kEnd,
  };

  static uint32_t Crc(uint32_t before, std::string_view bytes) {
    return static_cast<uint32_t>(::crc32(before, reinterpret_cast<const Bytef*>(bytes.data()),
                                         static_cast<uInt>(bytes.size())));
  }

  void Begin(Part part) {
    part_ = part;
    field_ = 0;
    field_bytes_ = 0;
  }

  std::string_view Take(std::string_view& rest, size_t bytes) {
    const std::string_view taken = rest.substr(0, bytes);
    rest.remove_prefix(taken.size());
    // The check sum of the header is not part of itself.
    if (part_ < Part::kHeaderCrc) header_check_ = Crc(header_check_, taken);
    return taken;
  }

  // Whether the little-endian number of so many bytes is complete, in `field_`.
  bool TakeField(std::string_view& rest, size_t bytes) {
    for (const char byte : Take(rest, bytes - field_bytes_)) {
      field_ |= uint64_t{static_cast<unsigned char>(byte)} << (8 * field_bytes_++);
    }
    return field_bytes_ == bytes;
  }

  // Whether the zero after a text has been reached.
  bool TakeText(std::string_view& rest) {
    const size_t end = rest.find('\0');
    (void)Take(rest, end == std::string_view::npos ? rest.size() : end + 1);
    return end != std::string_view::npos;
  }

  // One part of the header; whether it is complete. Faults are looked for where zlib does it.
  bool TakeHeader(std::string_view& rest, const char*& fault) {
    switch (part_) {
      case Part::kMagic:
        if (!TakeField(rest, 2)) return false;
        if (field_ != kMagic) fault = "incorrect header check";
        Begin(Part::kMethod);
        return true;
      case Part::kMethod:
        if (!TakeField(rest, 2)) return false;
        flags_ = static_cast<unsigned>(field_ >> 8);
        if ((flags_ & kReserved) != 0) fault = "unknown header flags set";
        if ((field_ & 0xff) != kDeflate) fault = "unknown compression method";
        Begin(Part::kTime);
        return true;
      case Part::kTime:
        if (!TakeField(rest, 6)) return false;
        Begin(Part::kExtraLength);
        return true;
      case Part::kExtraLength:
        if ((flags_ & kExtra) != 0 && !TakeField(rest, 2)) return false;
        extra_rest_ = field_;
        Begin(Part::kExtra);
        return true;
      case Part::kExtra:
        extra_rest_ -= Take(rest, extra_rest_).size();
        if (extra_rest_ > 0) return false;
        Begin(Part::kName);
        return true;
      case Part::kName:
        if ((flags_ & kName) != 0 && !TakeText(rest)) return false;
        Begin(Part::kComment);
        return true;
      case Part::kComment:
        if ((flags_ & kComment) != 0 && !TakeText(rest)) return false;
        Begin(Part::kHeaderCrc);
        return true;
      default:
        break;
    }
    if ((flags_ & kHeaderCrc) != 0) {
      if (!TakeField(rest, 2)) return false;
      if (field_ != (header_check_ & 0xffff)) fault = "header crc mismatch";
    }
    Begin(Part::kData);
    return true;
  }

  bool TakeTrailer(std::string_view& rest, const char*& fault) {
    if (part_ == Part::kEnd || !TakeField(rest, 4)) return false;
    if (part_ == Part::kCheck) {
      if (verify_checksums_ && field_ != check_) fault = "incorrect data check";
      Begin(Part::kLength);
      return true;
    }
    // Costs nothing, unlike the check sum.
    if (field_ != length_) fault = "incorrect length check";
    Begin(Part::kEnd);
    return true;
  }

  const bool verify_checksums_;
  Part part_ = Part::kMagic;
  // The number that is being read.
  uint64_t field_ = 0;
  size_t field_bytes_ = 0;
  size_t extra_rest_ = 0;
  unsigned flags_ = 0;
  uint32_t header_check_ = 0;
  uint32_t check_ = 0;
  uint32_t length_ = 0;
  Inflate inflate_;
};

}  // namespace

std::unique_ptr<GzipInflater> OpenOwnInflater(bool verify_checksums) {
  return std::make_unique<OwnInflater>(verify_checksums);
}

}  // namespace cais
