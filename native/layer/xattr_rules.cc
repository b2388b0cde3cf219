#include "layer/xattr_rules.h"

#include <algorithm>
#include <array>

#include "layer/entry_rules.h"

namespace cais {
namespace {

struct NameSpace {
  std::string_view prefix;
  uint8_t index;
  bool whole;  // the prefix is the whole name
};

constexpr std::array<NameSpace, 5> kNameSpaces = {{
    {"user.", 1, false},
    {"system.posix_acl_access", 2, true},
    {"system.posix_acl_default", 3, true},
    {"trusted.", 4, false},
    {"security.", 6, false},
}};

uint32_t LittleEndian32(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    value |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  return value;
}

bool IsCapability(std::string_view value) {
  constexpr uint32_t kRevisionMask = 0xff000000;
  if (value.size() < 4) return false;
  const uint32_t revision = LittleEndian32(value) & kRevisionMask;
  return (revision == 0x02000000 && value.size() == 20) ||
         (revision == 0x03000000 && value.size() == 24);
}

// Version 2, then entries of 8 bytes: tag, permissions, id.
bool IsAcl(std::string_view value) {
  return value.size() >= 4 && LittleEndian32(value) == 2 && value.size() % 8 == 4;
}

bool IsDropped(const TarEntry& entry, std::string_view name) {
  if (name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.")) return true;
  const bool user_allowed = entry.type == EntryType::kFile || entry.type == EntryType::kDirectory;
  if (name.starts_with("user.") && !user_allowed) return true;
  return name.starts_with("system.posix_acl_") && entry.type == EntryType::kSymlink;
}

}  // namespace

XattrName SplitXattrName(std::string_view name) {
  for (const NameSpace& space : kNameSpaces) {
    if (space.whole ? name == space.prefix
                    : name.starts_with(space.prefix) && name.size() > space.prefix.size()) {
      return {space.index, name.substr(space.prefix.size())};
    }
  }
  return {};
}

uint64_t XattrAreaBytes(const TarEntry& entry) {
  if (entry.xattrs.empty()) return 0;
  uint64_t size = 12;
  for (const auto& [name, value] : entry.xattrs) {
    size += (4 + SplitXattrName(name).suffix.size() + value.size() + 3) / 4 * 4;
  }
  return size;
}

Status FilterXattrs(TarEntry& entry) {
  if (entry.xattrs.empty()) return Done{};
  std::erase_if(entry.xattrs, [&](const auto& xattr) { return IsDropped(entry, xattr.first); });

  // Keep the last of equal names. Sorting makes the stored form independent of the order in the
  // tar.
  std::stable_sort(entry.xattrs.begin(), entry.xattrs.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::reverse(entry.xattrs.begin(), entry.xattrs.end());
  entry.xattrs.erase(std::unique(entry.xattrs.begin(), entry.xattrs.end(),
                                 [](const auto& a, const auto& b) { return a.first == b.first; }),
                     entry.xattrs.end());
  std::reverse(entry.xattrs.begin(), entry.xattrs.end());

  for (const auto& [name, value] : entry.xattrs) {
    const std::string shown = "its xattr " + QuoteName(name);
    if (name.size() > kMaxNameBytes || name.find('\0') != std::string::npos) {
      return RefuseEntry(entry.name, shown + " has a name that Linux does not take");
    }
    if (SplitXattrName(name).index == 0) {
      return RefuseEntry(entry.name, shown + " is in no name space of Linux");
    }
    if (value.size() > kMaxXattrValueBytes) {
      return Refuse("LIMIT_EXCEEDED",
                    "Entry " + QuoteName(entry.name) + ": " + shown + " has more than 65535 bytes");
    }
    if (name == "security.capability" && !IsCapability(value)) {
      return RefuseEntry(entry.name, shown + " is malformed");
    }
    if (name.starts_with("system.posix_acl_") && !IsAcl(value)) {
      return RefuseEntry(entry.name, shown + " is malformed");
    }
  }
  if (XattrAreaBytes(entry) > kMaxXattrAreaBytes) {
    return Refuse("LIMIT_EXCEEDED", "Entry " + QuoteName(entry.name) + " has xattrs of more than " +
                                        std::to_string(kMaxXattrAreaBytes) + " bytes");
  }
  return Done{};
}

}  // namespace cais
