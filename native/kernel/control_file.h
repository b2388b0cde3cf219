#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kernel/result.h"

namespace cais {

// Small text files of the kernel: cgroup control files, sysctls. One write or read is one request.
Status WriteControl(const std::string& path, const std::string& value);
Result<std::string> ReadControl(const std::string& path);
bool ControlExists(const std::string& path);

// The file as one number; "max" is -1.
Result<int64_t> ReadControlNumber(const std::string& path);

// `name value` lines.
using FlatKeys = std::vector<std::pair<std::string, int64_t>>;
Result<FlatKeys> ReadControlKeys(const std::string& path);
// 0 when there is no such key.
int64_t KeyValue(const FlatKeys& keys, const std::string& name);

// Words between spaces and ends of lines.
std::vector<std::string> SplitWords(const std::string& text);

}  // namespace cais
