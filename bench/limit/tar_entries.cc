#include "tar_entries.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>
#include <string_view>
#include <unordered_map>

namespace {

constexpr size_t kBlockBytes = 512;

// A numeric field: octal digits, or binary when the first bit is set (GNU).
uint64_t ReadNumber(const unsigned char* field, size_t bytes) {
  uint64_t number = 0;
  if ((field[0] & 0x80) != 0) {
    for (size_t i = 1; i < bytes; ++i) number = number << 8 | field[i];
    return number;
  }
  for (size_t i = 0; i < bytes; ++i) {
    if (field[i] >= '0' && field[i] <= '7') number = number * 8 + (field[i] - '0');
  }
  return number;
}

std::string ReadText(const unsigned char* field, size_t bytes) {
  const std::string_view text(reinterpret_cast<const char*>(field), bytes);
  return std::string(text.substr(0, text.find('\0')));
}

uint64_t ParseDecimal(std::string_view text) {
  uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

using Records = std::map<std::string, std::string>;

// Records of a pax header: "LENGTH KEY=VALUE\n".
void ReadPax(Bytes bytes, Records& records) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  while (!text.empty()) {
    const size_t length = ParseDecimal(text);
    const size_t space = text.find(' ');
    if (length > text.size() || space == std::string_view::npos || length < space + 3) {
      errno = 0;
      Fail("malformed pax header");
    }
    const std::string_view record = text.substr(space + 1, length - space - 2);
    const size_t equals = record.find('=');
    records[std::string(record.substr(0, equals))] = record.substr(equals + 1);
    text.remove_prefix(length);
  }
}

timespec ParseTime(std::string_view text) {
  timespec time{};
  time.tv_sec = static_cast<time_t>(ParseDecimal(text));
  const size_t point = text.find('.');
  if (point != std::string_view::npos) {
    std::string digits(text.substr(point + 1, 9));
    digits.resize(9, '0');
    time.tv_nsec = static_cast<long>(ParseDecimal(digits));
  }
  return time;
}

// "./usr//bin/" becomes "usr/bin"; the root becomes "".
std::string Normalize(std::string_view path) {
  std::string normal;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") {
      if (!normal.empty()) normal += '/';
      normal += part;
    }
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return normal;
}

std::pair<std::string, std::string> Split(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

class TreeBuilder {
 public:
  TreeBuilder() {
    tree_.directories.emplace_back();
    indices_[""] = 0;
  }

  void Add(const std::string& path, char type, Attributes attributes, Bytes data,
           const std::string& link) {
    if (type == '5') {
      tree_.directories[FindDirectory(path)].attributes = std::move(attributes);
      return;
    }
    auto [parent_path, name] = Split(path);
    const size_t parent = FindDirectory(parent_path);
    if (name == ".wh..wh..opq") {
      tree_.directories[parent].attributes.xattrs.emplace_back("trusted.overlay.opaque", "y");
    } else if (type == '1') {
      auto [target_parent, target_name] = Split(Normalize(link));
      tree_.links.push_back({parent, name, FindDirectory(target_parent), target_name});
    } else if (name.starts_with(".wh.")) {
      Attributes whiteout;
      whiteout.mode = 0;
      tree_.directories[parent].leaves.push_back({name.substr(4), '3', whiteout, {}, ""});
    } else {
      tree_.directories[parent].leaves.push_back({name, type, std::move(attributes), data, link});
    }
  }

  Tree Take() { return std::move(tree_); }

 private:
  size_t FindDirectory(const std::string& path) {
    if (const auto found = indices_.find(path); found != indices_.end()) return found->second;
    auto [parent_path, name] = Split(path);
    const size_t parent = FindDirectory(parent_path);
    const size_t index = tree_.directories.size();
    tree_.directories.push_back({name, parent, {}, {}});
    indices_[path] = index;
    return index;
  }

  Tree tree_;
  std::unordered_map<std::string, size_t> indices_;
};

Attributes ReadAttributes(const unsigned char* header, const Records& pax) {
  Attributes attributes;
  attributes.mode = static_cast<mode_t>(ReadNumber(header + 100, 8) & 07777);
  attributes.uid = static_cast<uid_t>(ReadNumber(header + 108, 8));
  attributes.gid = static_cast<gid_t>(ReadNumber(header + 116, 8));
  attributes.modified.tv_sec = static_cast<time_t>(ReadNumber(header + 136, 12));
  attributes.device = makedev(static_cast<unsigned>(ReadNumber(header + 329, 8)),
                              static_cast<unsigned>(ReadNumber(header + 337, 8)));
  constexpr std::string_view kXattr = "SCHILY.xattr.";
  for (const auto& [key, value] : pax) {
    if (key == "uid") attributes.uid = static_cast<uid_t>(ParseDecimal(value));
    if (key == "gid") attributes.gid = static_cast<gid_t>(ParseDecimal(value));
    if (key == "mtime") attributes.modified = ParseTime(value);
    if (key.starts_with(kXattr)) attributes.xattrs.emplace_back(key.substr(kXattr.size()), value);
  }
  return attributes;
}

}  // namespace

Tree ReadTar(Bytes tar) {
  TreeBuilder builder;
  Records pax;
  std::string long_name;
  std::string long_link;
  for (size_t offset = 0; offset + kBlockBytes <= tar.size();) {
    const unsigned char* header = tar.data() + offset;
    if (header[0] == 0) break;
    uint64_t size = ReadNumber(header + 124, 12);
    if (const auto found = pax.find("size"); found != pax.end()) size = ParseDecimal(found->second);
    const char type = header[156] == 0 || header[156] == '7' ? '0' : static_cast<char>(header[156]);
    if (type >= '1' && type <= '6') size = 0;
    if (size > tar.size() - offset - kBlockBytes) {
      errno = 0;
      Fail("the tar is cut short");
    }
    const Bytes data = tar.subspan(offset + kBlockBytes, size);
    offset += kBlockBytes + (size + kBlockBytes - 1) / kBlockBytes * kBlockBytes;

    if (type == 'x') {
      ReadPax(data, pax);
    } else if (type == 'L') {
      long_name = ReadText(data.data(), data.size());
    } else if (type == 'K') {
      long_link = ReadText(data.data(), data.size());
    } else if (type != 'g') {
      std::string name = ReadText(header, 100);
      // "ustar\0" is POSIX; GNU writes "ustar " and uses the prefix's place for other things.
      if (header[262] == 0 && header[345] != 0) name = ReadText(header + 345, 155) + "/" + name;
      std::string link = ReadText(header + 157, 100);
      if (!long_name.empty()) name = long_name;
      if (!long_link.empty()) link = long_link;
      if (const auto found = pax.find("path"); found != pax.end()) name = found->second;
      if (const auto found = pax.find("linkpath"); found != pax.end()) link = found->second;
      builder.Add(Normalize(name), type, ReadAttributes(header, pax), data, link);
      pax.clear();
      long_name.clear();
      long_link.clear();
    }
  }
  return builder.Take();
}
