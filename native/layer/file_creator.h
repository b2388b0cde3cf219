#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <ctime>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/result.h"
#include "kernel/unique_fd.h"
#include "layer/thread.h"

namespace cais {

// A small regular file whose data is all there.
struct NewFile {
  std::shared_ptr<UniqueFd> parent;
  std::string name;
  std::string_view data;
  uid_t uid = 0;
  gid_t gid = 0;
  mode_t mode = 0;
  timespec mtime{};
  // For whoever names the file in a message.
  uint32_t place = 0;
};

// Files made one after the other. Keeps the memory in which their data lies.
struct FileBatch {
  std::vector<std::shared_ptr<const void>> owners;
  std::vector<NewFile> files;
};

// Which file could not be made; `failure.path` is empty.
struct FileFailure {
  Failure failure;
  uint32_t place;
};

// A thread that makes small files. The first failure ends the work: what comes later is dropped.
class FileCreator {
 public:
  static Result<std::unique_ptr<FileCreator>> Start();
  // Drops what has not been made, and waits for the thread.
  ~FileCreator();
  FileCreator(const FileCreator&) = delete;
  FileCreator& operator=(const FileCreator&) = delete;

  // Waits while the queue is full.
  void Push(FileBatch batch);
  // Files that wait or are being made.
  size_t pending();
  // Waits until there are none.
  void Drain();
  std::optional<FileFailure> failure();

 private:
  FileCreator() = default;
  void Run();

  std::mutex mutex_;
  std::condition_variable pushed_;
  std::condition_variable done_;
  std::deque<FileBatch> queue_;
  size_t pending_ = 0;
  bool stopping_ = false;
  std::optional<FileFailure> failure_;
  Thread thread_;
};

// The threads that make the small files of a layer in the directory form. Creating files costs the
// kernel more than everything else of such a layer; two threads that work in different directories
// hardly wait for each other, a third gains little on ext4. Used by one thread.
class FileCreators {
 public:
  // Takes a file whose data lies in memory of `owner`; the threads are started with the first one.
  // Files of one directory that come together go to the same thread.
  Status Add(uint32_t directory, const std::shared_ptr<const void>& owner, NewFile file);
  // Call when there is another owner. Bounds how many of them wait here for more files; tells the
  // first failure so far.
  std::optional<FileFailure> NextOwner();
  // Keeps nothing back: what was added is made, and its owners are let go, as soon as can be.
  void Flush();
  // Waits until everything is made.
  std::optional<FileFailure> Drain();

 private:
  static constexpr size_t kThreads = 2;
  // Waking a thread takes as long as making two files.
  static constexpr size_t kBatchFiles = 32;
  static constexpr size_t kBatchOwners = 2;

  struct Worker {
    std::unique_ptr<FileCreator> creator;
    FileBatch batch;

    size_t Load() const { return creator->pending() + batch.files.size(); }
    void Push();
  };

  Status StartThreads();
  std::optional<FileFailure> FirstFailure() const;

  std::vector<Worker> workers_;
  Worker* chosen_ = nullptr;
  uint32_t directory_ = 0;
};

}  // namespace cais
