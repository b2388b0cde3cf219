#include "layer/tar_reader.h"

#include <algorithm>
#include <utility>

#include "layer/entry_rules.h"

namespace cais {
namespace {

// The limit of Go's reader, too.
constexpr uint64_t kMaxExtendedBytes = 1 << 20;

// The sparse part of an old GNU header: four runs, "goes on" and the size with holes; then blocks
// of 21 runs and "goes on". A run is an offset and a length, 12 bytes each.
constexpr size_t kSparseOffset = 386;
constexpr size_t kSparseRunsInHeader = 4;
constexpr size_t kSparseGoesOn = 482;
constexpr size_t kSparseRealSize = 483;
constexpr size_t kExtensionRuns = 21;
constexpr size_t kExtensionGoesOn = 504;
constexpr size_t kSparseNumberBytes = 12;

uint64_t PaddingOf(uint64_t bytes) {
  return (kTarBlockBytes - bytes % kTarBlockBytes) % kTarBlockBytes;
}

Failure BadTar(std::string message) { return Refuse("BAD_TAR", std::move(message)); }

std::optional<EntryType> TypeOf(const TarHeader& header) {
  switch (header.type) {
    case '\0':
      return header.name.ends_with('/') ? EntryType::kDirectory : EntryType::kFile;
    case '0':
    case '7':  // "contiguous": a plain file everywhere today
    case 'S':
      return EntryType::kFile;
    case '1':
      return EntryType::kHardLink;
    case '2':
      return EntryType::kSymlink;
    case '3':
      return EntryType::kCharacter;
    case '4':
      return EntryType::kBlock;
    case '5':
      return EntryType::kDirectory;
    case '6':
      return EntryType::kFifo;
    default:
      return std::nullopt;
  }
}

Failure RefuseType(const TarHeader& header) {
  std::string what = "has the type " + QuoteName(std::string_view(&header.type, 1));
  if (header.type == 'V') what = "is a volume header";
  if (header.type == 'M') what = "is a part of a multi-volume archive";
  if (header.type == 'D') what = "is a directory of an incremental dump";
  return Refuse("REFUSED_ENTRY",
                "The entry " + QuoteName(header.name) + " " + what + ", which no layer may have");
}

Status CheckPath(const char* what, const std::string& path) {
  if (path.size() <= kMaxPathBytes) return Done{};
  return Refuse("LIMIT_EXCEEDED", std::string("The ") + what + " " + QuoteName(path) + " has " +
                                      std::to_string(path.size()) + " bytes, at most " +
                                      std::to_string(kMaxPathBytes) + " are accepted");
}

}  // namespace

TarReader::TarReader(LayerEnd& end, const TarLimits& limits) : end_(end), limits_(limits) {
  block_.reserve(kTarBlockBytes);
}

Status TarReader::Feed(std::string_view bytes) {
  if (Status passed = end_.TarBytes(bytes); !passed.ok()) return passed;
  while (!bytes.empty()) {
    Status step = Done{};
    switch (state_) {
      case State::kHeader:
      case State::kExtension:
      case State::kSparseMap: {
        if (block_.empty() && bytes.size() >= kTarBlockBytes) {
          const std::string_view block = bytes.substr(0, kTarBlockBytes);
          bytes.remove_prefix(kTarBlockBytes);
          position_ += kTarBlockBytes;
          step = OnBlock(block);
          break;
        }
        const size_t part = std::min(bytes.size(), kTarBlockBytes - block_.size());
        block_.append(bytes.substr(0, part));
        bytes.remove_prefix(part);
        position_ += part;
        if (block_.size() < kTarBlockBytes) break;
        step = OnBlock(block_);
        block_.clear();
        break;
      }
      case State::kExtendedBody: {
        const size_t part = static_cast<size_t>(std::min<uint64_t>(bytes.size(), skip_bytes_));
        extended_.append(bytes.substr(0, part));
        bytes.remove_prefix(part);
        position_ += part;
        skip_bytes_ -= part;
        if (skip_bytes_ == 0) step = EndExtended();
        break;
      }
      case State::kData:
        step = OnData(bytes);
        break;
      case State::kPadding: {
        const size_t part = static_cast<size_t>(std::min<uint64_t>(bytes.size(), skip_bytes_));
        bytes.remove_prefix(part);
        position_ += part;
        skip_bytes_ -= part;
        if (skip_bytes_ == 0) state_ = State::kHeader;
        break;
      }
      case State::kEnded:
        position_ += bytes.size();
        return Done{};
    }
    if (!step.ok()) return step;
  }
  return Done{};
}

Result<EndSummary> TarReader::Finish() {
  const bool between_members = state_ == State::kHeader && block_.empty() && !has_extended();
  if (!between_members && state_ != State::kEnded) {
    std::string where =
        entry_.name.empty() ? "" : ", in or after the entry " + QuoteName(entry_.name);
    return Refuse("TRUNCATED",
                  "The tar ends early, after " + std::to_string(position_) + " bytes" + where);
  }
  return end_.Finish();
}

Status TarReader::OnBlock(std::string_view block) {
  Status step = Done{};
  if (state_ == State::kHeader) {
    step = IsZeroBlock(block) ? OnZeroBlock() : OnHeader(block);
  } else if (state_ == State::kExtension) {
    step = OnExtensionBlock(block);
  } else {
    step = OnSparseMapBlock(block);
  }
  return step;
}

Status TarReader::OnZeroBlock() {
  if (has_extended()) return Located(BadTar("The tar ends after an extended header"));
  if (zero_block_seen_) state_ = State::kEnded;
  zero_block_seen_ = true;
  return Done{};
}

Status TarReader::OnHeader(std::string_view block) {
  if (zero_block_seen_) return Located(BadTar("A zero block is followed by something else"));
  Result<TarHeader> header = ParseTarHeader(block);
  if (!header.ok()) return Located(std::move(header.failure()));
  switch (header.value().type) {
    case 'x':
    case 'g':
    case 'L':
    case 'K':
      return BeginExtended(header.value());
    default:
      return BeginEntry(std::move(header.value()), block);
  }
}

Status TarReader::BeginExtended(const TarHeader& header) {
  if (header.size > kMaxExtendedBytes) {
    return Located(Refuse("LIMIT_EXCEEDED", "An extended header has " +
                                                std::to_string(header.size) + " bytes, at most " +
                                                std::to_string(kMaxExtendedBytes) +
                                                " are accepted"));
  }
  extended_type_ = header.type;
  extended_.clear();
  skip_bytes_ = header.size;
  padding_bytes_ = PaddingOf(header.size);
  state_ = State::kExtendedBody;
  return header.size == 0 ? EndExtended() : Status(Done{});
}

Status TarReader::EndExtended() {
  if (extended_type_ == 'L' || extended_type_ == 'K') {
    std::string_view text = extended_;
    while (!text.empty() && text.back() == '\0') text.remove_suffix(1);
    if (text.find('\0') != std::string_view::npos) {
      return Located(BadTar("A long name has a NUL character: " + QuoteName(text)));
    }
    (extended_type_ == 'L' ? long_name_ : long_link_) = text;
  } else {
    PaxRecords& records = extended_type_ == 'g' ? global_ : local_.emplace(global_);
    if (Status parsed = ParsePaxRecords(extended_, records); !parsed.ok()) {
      return Located(std::move(parsed.failure()));
    }
    if (global_.describes_one_file()) {
      return Located(BadTar("A global pax header names or measures a single file"));
    }
  }
  skip_bytes_ = padding_bytes_;
  state_ = skip_bytes_ == 0 ? State::kHeader : State::kPadding;
  return Done{};
}

void TarReader::ForgetExtended() {
  local_.reset();
  long_name_.reset();
  long_link_.reset();
}

Status TarReader::BeginEntry(TarHeader header, std::string_view block) {
  const PaxRecords& pax = local_ ? *local_ : global_;
  // Order of precedence as in Go: pax over header, GNU long names over pax.
  if (pax.path) header.name = *pax.path;
  if (pax.link_path) header.link = *pax.link_path;
  if (long_name_) header.name = std::move(*long_name_);
  if (long_link_) header.link = std::move(*long_link_);
  if (pax.sparse_name) header.name = *pax.sparse_name;
  if (pax.size) header.size = *pax.size;
  const std::optional<EntryType> type = TypeOf(header);
  if (!type) return Located(RefuseType(header));

  entry_ = TarEntry{};
  entry_.type = *type;
  entry_.name = std::move(header.name);
  if (*type == EntryType::kHardLink || *type == EntryType::kSymlink) {
    entry_.link = std::move(header.link);
  }
  if (Status path = CheckPath("name", entry_.name); !path.ok()) {
    return Located(std::move(path.failure()));
  }
  if (Status path = CheckPath("link target", entry_.link); !path.ok()) {
    return Located(std::move(path.failure()));
  }
  entry_.mode = header.mode;
  entry_.uid = pax.uid.value_or(header.uid);
  entry_.gid = pax.gid.value_or(header.gid);
  entry_.mtime_seconds = pax.mtime ? pax.mtime->seconds : header.mtime_seconds;
  entry_.mtime_nanos = pax.mtime ? pax.mtime->nanos : 0;
  entry_.device_major = header.device_major;
  entry_.device_minor = header.device_minor;
  entry_.xattrs.assign(pax.xattrs.begin(), pax.xattrs.end());
  stored_bytes_ = 0;
  padding_bytes_ = 0;
  // Links, directories, devices and FIFOs have no data, whatever their size says.
  if (*type != EntryType::kFile) return EmitEntry();
  return BeginFile(header, block, pax);
}

Status TarReader::BeginFile(const TarHeader& header, std::string_view block,
                            const PaxRecords& pax) {
  stored_bytes_ = header.size;
  padding_bytes_ = PaddingOf(header.size);
  if (header.type == 'S') {
    if (header.format != TarFormat::kGnu) {
      return Located(BadTar("A sparse file of the old GNU format has no GNU header"));
    }
    const Result<int64_t> size = ParseTarNumber(block.substr(kSparseRealSize, kSparseNumberBytes));
    if (!size.ok() || size.value() < 0) {
      return Located(BadTar("The size of a sparse file is no valid number"));
    }
    entry_.size = static_cast<uint64_t>(size.value());
    old_sparse_map_.clear();
    if (Status added = AddOldSparse(block.substr(kSparseOffset), kSparseRunsInHeader);
        !added.ok()) {
      return added;
    }
    if (block[kSparseGoesOn] == '\0') return EmitSparse();
    state_ = State::kExtension;
    return Done{};
  }
  if (pax.has_sparse_map || pax.sparse_major || pax.sparse_minor) return BeginPaxSparse(pax);
  entry_.size = header.size;
  if (header.size > 0) entry_.runs.push_back(DataRun{0, position_, header.size});
  return EmitEntry();
}

// GNU tar manual, "Storing Sparse Files": 0.0 and 0.1 may name no version, and have the map in the
// header.
Status TarReader::BeginPaxSparse(const PaxRecords& pax) {
  if (!pax.sparse_real_size) return Located(BadTar("A sparse file has no size"));
  entry_.size = *pax.sparse_real_size;
  const std::string major = pax.sparse_major.value_or("0");
  const std::string minor = pax.sparse_minor.value_or(pax.sparse_major ? "0" : "1");
  if (major == "1" && minor == "0") {
    sparse_map_ = SparseMapParser();
    state_ = State::kSparseMap;
    return Done{};
  }
  if (major != "0" || (minor != "0" && minor != "1") || !pax.has_sparse_map) {
    return Located(
        BadTar("A sparse file has the unknown format " + QuoteName(major + "." + minor)));
  }
  old_sparse_map_ = pax.sparse_map;
  return EmitSparse();
}

Status TarReader::AddOldSparse(std::string_view fields, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const std::string_view offset = fields.substr(2 * i * kSparseNumberBytes, kSparseNumberBytes);
    const std::string_view length =
        fields.substr((2 * i + 1) * kSparseNumberBytes, kSparseNumberBytes);
    if (offset[0] == '\0') break;
    for (const std::string_view field : {offset, length}) {
      const Result<int64_t> number = ParseTarNumber(field);
      if (!number.ok() || number.value() < 0) {
        return Located(BadTar("A sparse map has an invalid number"));
      }
      old_sparse_map_.push_back(static_cast<uint64_t>(number.value()));
    }
    if (old_sparse_map_.size() > 2 * kMaxSparseRuns) return Located(TooManySparseRuns());
  }
  return Done{};
}

Status TarReader::OnExtensionBlock(std::string_view block) {
  if (Status added = AddOldSparse(block, kExtensionRuns); !added.ok()) return added;
  return block[kExtensionGoesOn] == '\0' ? EmitSparse() : Status(Done{});
}

Status TarReader::OnSparseMapBlock(std::string_view block) {
  if (stored_bytes_ < kTarBlockBytes) {
    return Located(BadTar("A sparse map is longer than the data of its entry"));
  }
  stored_bytes_ -= kTarBlockBytes;
  if (Status fed = sparse_map_.Feed(block); !fed.ok()) return Located(std::move(fed.failure()));
  if (!sparse_map_.done()) return Done{};
  old_sparse_map_ = sparse_map_.numbers();
  return EmitSparse();
}

Status TarReader::EmitSparse() {
  Result<std::vector<DataRun>> runs =
      RunsOf({old_sparse_map_, entry_.size, stored_bytes_, position_});
  if (!runs.ok()) return Located(std::move(runs.failure()));
  entry_.runs = std::move(runs.value());
  return EmitEntry();
}

Status TarReader::EmitEntry() {
  ForgetExtended();
  if (++entries_ > limits_.max_entries) {
    return Located(Refuse("LIMIT_EXCEEDED", "The layer has more than " +
                                                std::to_string(limits_.max_entries) +
                                                " entries (limit maxEntries)"));
  }
  metadata_bytes_ += entry_.name.size() + entry_.link.size() + entry_.runs.size() * sizeof(DataRun);
  for (const auto& [name, value] : entry_.xattrs) metadata_bytes_ += name.size() + value.size();
  if (metadata_bytes_ > limits_.max_metadata_bytes) {
    return Located(Refuse("LIMIT_EXCEEDED",
                          "Names, links and extended attributes of the layer have more than " +
                              std::to_string(limits_.max_metadata_bytes) +
                              " bytes (limit maxMetadataBytes)"));
  }
  runs_ = entry_.runs;
  run_ = 0;
  run_done_bytes_ = 0;
  // The name stays here for messages.
  TarEntry handed = std::move(entry_);
  entry_.name = handed.name;
  if (Status taken = end_.Entry(std::move(handed)); !taken.ok()) return taken;
  if (runs_.empty()) return EndData();
  state_ = State::kData;
  return Done{};
}

Status TarReader::OnData(std::string_view& bytes) {
  const DataRun& run = runs_[run_];
  const size_t part =
      static_cast<size_t>(std::min<uint64_t>(bytes.size(), run.length - run_done_bytes_));
  Status taken = end_.FileData(run.file_offset + run_done_bytes_, bytes.substr(0, part));
  if (!taken.ok()) return taken;
  bytes.remove_prefix(part);
  position_ += part;
  run_done_bytes_ += part;
  if (run_done_bytes_ < run.length) return Done{};
  run_done_bytes_ = 0;
  return ++run_ == runs_.size() ? EndData() : Status(Done{});
}

Status TarReader::EndData() {
  if (Status ended = end_.EndEntry(); !ended.ok()) return ended;
  skip_bytes_ = padding_bytes_;
  state_ = skip_bytes_ == 0 ? State::kHeader : State::kPadding;
  return Done{};
}

Failure TarReader::Located(Failure failure) const {
  failure.path += " (at byte " + std::to_string(position_) + " of the tar";
  if (!entry_.name.empty()) failure.path += ", in or after the entry " + QuoteName(entry_.name);
  failure.path += ")";
  return failure;
}

}  // namespace cais
