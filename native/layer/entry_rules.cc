#include "layer/entry_rules.h"

#include <algorithm>

#include "layer/xattr_rules.h"

namespace cais {
namespace {

constexpr std::string_view kOpaqueMarker = ".wh..wh..opq";
constexpr std::string_view kAufsPrefix = ".wh..wh.";

// Times outside of these cannot be stored by ext4, which clamps them (1901 and 2446): clamping here
// gives both forms the same answer.
constexpr int64_t kMinMtimeSeconds = -(int64_t{1} << 31);
constexpr int64_t kMaxMtimeSeconds = 0x37fffffff;

// What the kernel's new_encode_dev holds.
constexpr uint32_t kMaxDeviceMajor = (1u << 12) - 1;
constexpr uint32_t kMaxDeviceMinor = (1u << 20) - 1;

// Joins runs that follow each other in the file and in the tar, and drops empty ones.
void MergeRuns(std::vector<DataRun>& runs) {
  size_t kept = 0;
  for (const DataRun& run : runs) {
    if (run.length == 0) continue;
    DataRun* last = kept == 0 ? nullptr : &runs[kept - 1];
    if (last != nullptr && last->file_offset + last->length == run.file_offset &&
        last->tar_offset + last->length == run.tar_offset) {
      last->length += run.length;
    } else {
      runs[kept++] = run;
    }
  }
  runs.resize(kept);
}

Status CheckRuns(TarEntry& entry) {
  if (entry.size > kMaxFileBytes) {
    return Refuse("LIMIT_EXCEEDED", "Entry " + QuoteName(entry.name) + " is a file of " +
                                        std::to_string(entry.size) + " bytes, more than " +
                                        std::to_string(kMaxFileBytes));
  }
  uint64_t end = 0;
  for (const DataRun& run : entry.runs) {
    if (run.file_offset < end || run.length > entry.size ||
        run.file_offset > entry.size - run.length) {
      return Refuse("BAD_TAR", "Entry " + QuoteName(entry.name) +
                                   " has a sparse map that overlaps or passes its end");
    }
    end = run.file_offset + run.length;
  }
  MergeRuns(entry.runs);
  return Done{};
}

Status CheckDevice(const TarEntry& entry) {
  if (entry.device_major > kMaxDeviceMajor || entry.device_minor > kMaxDeviceMinor) {
    return RefuseEntry(entry.name, "its device number does not exist on Linux");
  }
  if (entry.type == EntryType::kCharacter && entry.device_major == 0 && entry.device_minor == 0) {
    return RefuseEntry(entry.name,
                       "a character device 0:0 is how overlayfs marks a removed file; a layer says "
                       "this by a \".wh.\" name");
  }
  return Done{};
}

}  // namespace

std::string QuoteName(std::string_view name) {
  constexpr size_t kShownBytes = 200;
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text = "\"";
  for (char c : name.substr(0, kShownBytes)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      text += "\\x";
      text += kHex[byte >> 4];
      text += kHex[byte & 15];
    } else {
      text += c;
    }
  }
  text += name.size() > kShownBytes ? "…\"" : "\"";
  return text;
}

Failure RefuseEntry(std::string_view name, std::string_view reason) {
  return Refuse("REFUSED_ENTRY", "Refused entry " + QuoteName(name) + ": " + std::string(reason));
}

Status SplitEntryName(std::string_view name, EntryName& result) {
  result.kind = NameKind::kPlain;
  result.components.clear();
  if (name.empty()) return RefuseEntry(name, "it has no name");
  if (name.size() > kMaxPathBytes) return RefuseEntry(name, "its name is longer than 4096 bytes");
  if (name.find('\0') != std::string_view::npos) {
    return RefuseEntry(name, "its name holds a zero byte");
  }
  size_t start = 0;
  while (start <= name.size()) {
    const size_t end = std::min(name.find('/', start), name.size());
    const std::string_view part = name.substr(start, end - start);
    start = end + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (result.components.empty()) return RefuseEntry(name, "it leaves the root by \"..\"");
      result.components.pop_back();
      continue;
    }
    if (part.size() > kMaxNameBytes) {
      return RefuseEntry(name, "a part of its name is longer than 255 bytes");
    }
    result.components.push_back(part);
  }
  if (result.components.empty()) return Done{};

  const std::string_view last = result.components.back();
  for (const std::string_view part : result.components) {
    if (!part.starts_with(kWhiteoutPrefix)) continue;
    const bool is_last = part.data() == last.data();
    if (is_last && part == kOpaqueMarker) {
      result.kind = NameKind::kOpaque;
      result.components.pop_back();
      return Done{};
    }
    if (part.starts_with(kAufsPrefix)) {
      result.kind = NameKind::kIgnored;
      return Done{};
    }
    if (!is_last) return RefuseEntry(name, "it lies below a whiteout");
    const std::string_view removed = part.substr(kWhiteoutPrefix.size());
    if (removed.empty() || removed == "." || removed == "..") {
      return RefuseEntry(name, "it is a whiteout of no name");
    }
    result.kind = NameKind::kWhiteout;
    result.components.back() = removed;
    return Done{};
  }
  return Done{};
}

Status CheckEntry(TarEntry& entry) {
  constexpr uint32_t kNoId = UINT32_MAX;
  if (entry.uid == kNoId || entry.gid == kNoId) {
    return RefuseEntry(entry.name, "its owner 4294967295 cannot own a file");
  }
  entry.mode &= 07777;
  entry.mtime_seconds = std::clamp(entry.mtime_seconds, kMinMtimeSeconds, kMaxMtimeSeconds);
  if (entry.mtime_nanos >= 1'000'000'000) {
    return Refuse("BAD_TAR", "Entry " + QuoteName(entry.name) + " has a malformed time");
  }
  switch (entry.type) {
    case EntryType::kFile: {
      const Status runs = CheckRuns(entry);
      if (!runs.ok()) return runs;
      break;
    }
    case EntryType::kSymlink:
      if (entry.link.empty() || entry.link.find('\0') != std::string::npos) {
        return RefuseEntry(entry.name, "its link target is empty or holds a zero byte");
      }
      if (entry.link.size() > kMaxLinkTargetBytes) {
        return RefuseEntry(entry.name, "its link target is longer than 4095 bytes");
      }
      break;
    case EntryType::kCharacter:
    case EntryType::kBlock: {
      const Status device = CheckDevice(entry);
      if (!device.ok()) return device;
      break;
    }
    case EntryType::kHardLink:
    case EntryType::kDirectory:
    case EntryType::kFifo:
      break;
  }
  return FilterXattrs(entry);
}

}  // namespace cais
