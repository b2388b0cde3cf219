#pragma once

#include <sys/types.h>

#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/result.h"
#include "kernel/unique_fd.h"

namespace cais {

class Workers;

// A small regular file whose data is all there, or the attributes of a directory that is filled.
struct NewFile {
  std::shared_ptr<UniqueFd> parent;
  std::string name;
  std::string_view data;
  uid_t uid = 0;
  gid_t gid = 0;
  mode_t mode = 0;
  // Of a directory: what it has so far.
  std::optional<mode_t> present_mode;
  timespec mtime{};
  // For whoever names the file in a message.
  uint32_t place = 0;
};

// Files made one after the other. Keeps the memory in which their data lies.
struct FileBatch {
  // By number: where the first and the last of them belong.
  uint32_t first_directory = 0;
  uint32_t last_directory = 0;
  std::vector<std::shared_ptr<const void>> owners;
  std::vector<NewFile> files;
};

// Which file could not be made; `failure.path` is empty.
struct FileFailure {
  Failure failure;
  uint32_t place;
};

// Makes the small files of a layer in the directory form, in batches that the workers of all layers
// take like other work. Creating files costs the kernel more than everything else of such a layer;
// two threads that work in different directories hardly wait for each other, a third gains little
// on ext4. The first failure ends the work: what comes later is dropped.
//
// Used by one thread, which helps when much is waiting: each file holds a descriptor.
class FileCreator {
 public:
  // `workers` must live longer.
  explicit FileCreator(Workers& workers);
  // Drops what has not been made, and waits for what is being made.
  ~FileCreator();
  FileCreator(const FileCreator&) = delete;
  FileCreator& operator=(const FileCreator&) = delete;

  // Takes a file whose data lies in memory of `owner`, or a directory and null. Those in one
  // directory come together.
  void Add(uint32_t directory, const std::shared_ptr<const void>& owner, NewFile file);
  // Call when there is another owner. Bounds how many of them wait here for more files; tells the
  // first failure so far.
  std::optional<FileFailure> NextOwner();
  // Keeps nothing back: what was added is made, and its owners are let go, as soon as can be.
  void Flush();
  // Makes what is left, and waits for the others.
  std::optional<FileFailure> Drain();

 private:
  class Batches;

  const std::shared_ptr<Batches> batches_;
  FileBatch next_;
};

}  // namespace cais
