#include "layer/file_creator.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "layer/private_umask.h"

namespace cais {
namespace {

// More would only hold more of the pieces that the tar comes in.
constexpr size_t kMaxBatches = 4;

constexpr mode_t kPermissions = 0777;

Status Create(const NewFile& file, const PrivateUmask& umask) {
  const UniqueFd fd(::openat(file.parent->get(), file.name.c_str(),
                             O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                             file.mode & kPermissions));
  if (!fd) return Errno("openat");
  for (std::string_view rest = file.data; !rest.empty();) {
    const ssize_t written = ::write(fd.get(), rest.data(), rest.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return Errno("write");
    }
    rest.remove_prefix(static_cast<size_t>(written));
  }
  // Owner first, since chown takes setuid bits away; time last.
  if ((file.uid != ::geteuid() || file.gid != ::getegid()) &&
      ::fchown(fd.get(), file.uid, file.gid) != 0) {
    return Errno("fchown");
  }
  if (file.mode != umask.Created(file.mode & kPermissions) && ::fchmod(fd.get(), file.mode) != 0) {
    return Errno("fchmod");
  }
  const timespec times[] = {file.mtime, file.mtime};
  if (::futimens(fd.get(), times) != 0) return Errno("futimens");
  return Done{};
}

}  // namespace

Result<std::unique_ptr<FileCreator>> FileCreator::Start() {
  std::unique_ptr<FileCreator> creator(new FileCreator());
  Result<Thread> thread = Thread::Start("cais-create", [raw = creator.get()] { raw->Run(); });
  if (!thread.ok()) return std::move(thread.failure());
  creator->thread_ = std::move(thread.value());
  return creator;
}

FileCreator::~FileCreator() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  pushed_.notify_all();
  thread_.Join();
}

void FileCreator::Push(FileBatch batch) {
  {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return queue_.size() < kMaxBatches; });
    pending_ += batch.files.size();
    queue_.push_back(std::move(batch));
  }
  pushed_.notify_one();
}

size_t FileCreator::pending() {
  std::lock_guard lock(mutex_);
  return pending_;
}

void FileCreator::Drain() {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return pending_ == 0; });
}

std::optional<FileFailure> FileCreator::failure() {
  std::lock_guard lock(mutex_);
  return failure_;
}

void FileCreator::Run() {
  const PrivateUmask umask;
  for (;;) {
    FileBatch batch;
    bool failed = false;
    {
      std::unique_lock lock(mutex_);
      pushed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      batch = std::move(queue_.front());
      queue_.pop_front();
      failed = failure_.has_value();
    }
    std::optional<FileFailure> failure;
    for (const NewFile& file : batch.files) {
      if (failed || failure) break;
      Status made = Create(file, umask);
      if (!made.ok()) failure = FileFailure{std::move(made.failure()), file.place};
    }
    const size_t count = batch.files.size();
    // Gives the memory back before anybody hears of it.
    batch = FileBatch{};
    {
      std::lock_guard lock(mutex_);
      if (failure) failure_ = std::move(failure);
      pending_ -= count;
    }
    done_.notify_all();
  }
}

void FileCreators::Worker::Push() {
  if (!batch.files.empty()) creator->Push(std::exchange(batch, FileBatch{}));
}

Status FileCreators::Add(uint32_t directory, const std::shared_ptr<const void>& owner,
                         NewFile file) {
  if (workers_.empty()) {
    if (Status started = StartThreads(); !started.ok()) return started;
  }
  if (chosen_ == nullptr || directory != directory_) {
    directory_ = directory;
    chosen_ = &*std::min_element(
        workers_.begin(), workers_.end(),
        [](const Worker& one, const Worker& other) { return one.Load() < other.Load(); });
  }
  FileBatch& batch = chosen_->batch;
  if (batch.owners.empty() || batch.owners.back() != owner) batch.owners.push_back(owner);
  batch.files.push_back(std::move(file));
  if (batch.files.size() >= kBatchFiles) chosen_->Push();
  return Done{};
}

std::optional<FileFailure> FileCreators::NextOwner() {
  for (Worker& worker : workers_) {
    if (worker.batch.owners.size() >= kBatchOwners) worker.Push();
  }
  return FirstFailure();
}

void FileCreators::Flush() {
  for (Worker& worker : workers_) worker.Push();
}

std::optional<FileFailure> FileCreators::Drain() {
  Flush();
  for (Worker& worker : workers_) worker.creator->Drain();
  return FirstFailure();
}

std::optional<FileFailure> FileCreators::FirstFailure() const {
  for (const Worker& worker : workers_) {
    if (auto failure = worker.creator->failure()) return failure;
  }
  return std::nullopt;
}

Status FileCreators::StartThreads() {
  std::vector<Worker> started(kThreads);
  for (Worker& worker : started) {
    Result<std::unique_ptr<FileCreator>> creator = FileCreator::Start();
    if (!creator.ok()) return std::move(creator.failure());
    worker.creator = std::move(creator.value());
  }
  workers_ = std::move(started);
  return Done{};
}

}  // namespace cais
