#include "layer/zstd_reader.h"

#include <algorithm>
#include <cstring>

#include "layer/little_endian.h"

namespace cais {
namespace {

constexpr std::string_view kMagic = "\x28\xb5\x2f\xfd";
// Of skippable frames, whose first byte is one of sixteen.
constexpr std::string_view kSkippableMagic = "\x50\x2a\x4d\x18";
constexpr size_t kSkippableHeadBytes = 8;
constexpr size_t kBlockHeadBytes = 3;
constexpr size_t kCheckSumBytes = 4;
enum BlockType : unsigned { kRaw, kRepeated, kCompressed, kReserved };

bool IsSkippable(std::string_view bytes) {
  return !bytes.empty() && (static_cast<unsigned char>(bytes[0]) & 0xf0) == 0x50 &&
         kSkippableMagic.substr(1).starts_with(bytes.substr(1, kMagic.size() - 1));
}

// The parts of a frame's header (RFC 8878, section 3.1.1.1), by the byte after the magic number.
struct HeadParts {
  explicit HeadParts(unsigned descriptor)
      : is_single_segment((descriptor & 0x20) != 0),
        window_bytes(is_single_segment ? 0 : 1),
        dictionary_bytes((1u << (descriptor & 3)) >> 1),
        size_bytes(descriptor >> 6 == 0 ? (is_single_segment ? 1 : 0) : 1u << (descriptor >> 6)) {}
  size_t bytes() const { return kMagic.size() + 1 + window_bytes + dictionary_bytes + size_bytes; }

  bool is_single_segment;
  size_t window_bytes;
  size_t dictionary_bytes;
  size_t size_bytes;
};

}  // namespace

bool IsZstdMagic(std::string_view first_bytes) {
  return first_bytes.starts_with(kMagic) ||
         (first_bytes.size() >= kSkippableMagic.size() && IsSkippable(first_bytes));
}

Result<size_t> ZstdReader::Run(std::string_view input, ZstdBatch& batch) {
  std::string_view rest = input;
  bool is_complete = true;
  while (is_complete && batch.HasRoom()) {
    Result<bool> part = false;
    switch (place_) {
      case Place::kHead:
        part = ReadHead(rest, batch);
        break;
      case Place::kSkippable:
        part = Skip(rest);
        break;
      case Place::kBlockHead:
        part = ReadBlockHead(rest);
        break;
      case Place::kBlock:
        part = ReadBlock(rest, batch);
        break;
      case Place::kCheckSum:
        part = ReadCheckSum(rest, batch);
        break;
    }
    if (!part.ok()) return std::move(part.failure());
    is_complete = part.value();
  }
  return input.size() - rest.size();
}

bool ZstdReader::Stage(std::string_view& input, size_t bytes) {
  const size_t part = std::min(input.size(), bytes - std::min(bytes, staged_.size()));
  staged_.append(input.substr(0, part));
  input.remove_prefix(part);
  return staged_.size() >= bytes;
}

Result<bool> ZstdReader::ReadHead(std::string_view& input, ZstdBatch& batch) {
  // Byte by byte: a wrong magic number is to be found as soon as it is there.
  while (staged_.size() < kMagic.size()) {
    if (!Stage(input, staged_.size() + 1)) return false;
    if (!kMagic.starts_with(staged_) && !IsSkippable(staged_)) return BadMagic();
  }
  if (IsSkippable(staged_)) {
    if (!Stage(input, kSkippableHeadBytes)) return false;
    skip_bytes_ = LittleNumber(std::string_view(staged_).substr(kMagic.size()));
    staged_.clear();
    place_ = Place::kSkippable;
    return true;
  }
  if (!Stage(input, kMagic.size() + 1)) return false;
  const HeadParts parts(static_cast<unsigned char>(staged_[kMagic.size()]));
  if (!Stage(input, parts.bytes())) return false;
  if (Status begun = BeginFrame(batch); !begun.ok()) return std::move(begun.failure());
  staged_.clear();
  place_ = Place::kBlockHead;
  return true;
}

Status ZstdReader::BeginFrame(ZstdBatch& batch) {
  const auto descriptor = static_cast<unsigned char>(staged_[kMagic.size()]);
  const HeadParts parts(descriptor);
  if ((descriptor & 0x08) != 0) return BadZstd("a reserved bit of a frame is set");
  std::string_view head = std::string_view(staged_).substr(kMagic.size() + 1);
  const auto take = [&head](size_t bytes) {
    const uint64_t number = LittleNumber(head.substr(0, bytes));
    head.remove_prefix(bytes);
    return number;
  };
  const uint64_t window = take(parts.window_bytes);
  if (take(parts.dictionary_bytes) != 0) return BadZstd("a frame needs a dictionary");
  frame_ = {};
  frame_.has_check_sum = (descriptor & 0x04) != 0;
  if (parts.size_bytes > 0) {
    // Two bytes begin where one byte ends.
    frame_.total_bytes = take(parts.size_bytes) + (parts.size_bytes == 2 ? 256 : 0);
  }
  if (parts.is_single_segment) {
    frame_.window_bytes = *frame_.total_bytes;
  } else {
    const uint64_t base = uint64_t{1} << (10 + (window >> 3));
    frame_.window_bytes = base + (base >> 3) * (window & 7);
  }
  if (frame_.window_bytes > kMaxZstdWindowBytes) {
    return Refuse("LIMIT_EXCEEDED",
                  "The zstd stream wants a window of more than 128 MiB to be decompressed");
  }
  frame_.block_bytes =
      static_cast<size_t>(std::min<uint64_t>(frame_.window_bytes, kMaxZstdBlockBytes));
  blocks_.Begin(frame_.block_bytes);
  batch.items.emplace_back().frame = frame_;
  return Done{};
}

bool ZstdReader::Skip(std::string_view& input) {
  const auto part = static_cast<size_t>(std::min<uint64_t>(skip_bytes_, input.size()));
  skip_bytes_ -= part;
  input.remove_prefix(part);
  if (skip_bytes_ > 0) return false;
  ++frames_;
  place_ = Place::kHead;
  return true;
}

Result<bool> ZstdReader::ReadBlockHead(std::string_view& input) {
  if (!Stage(input, kBlockHeadBytes)) return false;
  const uint64_t head = LittleNumber(staged_);
  staged_.clear();
  is_last_block_ = (head & 1) != 0;
  block_type_ = head >> 1 & 3;
  block_size_ = head >> 3;
  if (block_type_ == kReserved) return BadZstd("a block has an unknown type");
  if (block_size_ > frame_.block_bytes) return BadZstd("a block is too large");
  block_input_bytes_ = block_type_ == kRepeated ? 1 : block_size_;
  place_ = Place::kBlock;
  return true;
}

Result<bool> ZstdReader::ReadBlock(std::string_view& input, ZstdBatch& batch) {
  // In one row, most often: only what lies across two pieces is copied.
  std::string_view bytes = input.substr(0, block_input_bytes_);
  if (staged_.empty() && bytes.size() == block_input_bytes_) {
    input.remove_prefix(bytes.size());
  } else {
    if (!Stage(input, block_input_bytes_)) return false;
    bytes = staged_;
  }
  if (const char* fault = AddBlock(bytes, batch)) return BadZstd(fault);
  staged_.clear();
  place_ = is_last_block_ ? Place::kCheckSum : Place::kBlockHead;
  // At once: the input may be over.
  return !is_last_block_ || frame_.has_check_sum || ReadCheckSum(input, batch);
}

const char* ZstdReader::AddBlock(std::string_view bytes, ZstdBatch& batch) {
  switch (block_type_) {
    case kRaw:
      std::memcpy(batch.literals(), bytes.data(), bytes.size());
      break;
    case kRepeated:
      std::memset(batch.literals(), bytes[0], block_size_);
      break;
    default:
      return blocks_.Add(bytes, batch);
  }
  batch.AddBlock(block_size_, 0);
  return nullptr;
}

bool ZstdReader::ReadCheckSum(std::string_view& input, ZstdBatch& batch) {
  if (frame_.has_check_sum && !Stage(input, kCheckSumBytes)) return false;
  ZstdBatch::Item& end = batch.items.emplace_back();
  end.ends_frame = true;
  if (frame_.has_check_sum) end.check_sum = static_cast<uint32_t>(LittleNumber(staged_));
  staged_.clear();
  ++frames_;
  place_ = Place::kHead;
  return true;
}

Failure ZstdReader::BadMagic() const {
  if (frames_ == 0) return BadZstd("it does not begin as a frame");
  return Refuse("TRAILING_DATA", "The zstd stream is followed by other data");
}

}  // namespace cais
