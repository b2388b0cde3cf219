#pragma once

#include <string>

#include "kernel/result.h"

namespace cais {

// Content of the file, then the entry in its directory, are on the disk.
Status SyncFile(const std::string& path);

// Everything written so far to the file system that holds `path` is on the disk.
Status SyncFilesystem(const std::string& path);

}  // namespace cais
