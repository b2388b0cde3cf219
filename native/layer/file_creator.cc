#include "layer/file_creator.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>
#include <utility>

#include "layer/private_umask.h"
#include "layer/workers.h"

namespace cais {
namespace {

// About a millisecond of work.
constexpr size_t kBatchFiles = 32;
// From here on, another directory begins another batch.
constexpr size_t kFewFiles = 16;
constexpr size_t kBatchOwners = 2;
constexpr size_t kMaxBatches = 8;

constexpr mode_t kPermissions = 0777;

Status Create(const NewFile& file, bool is_ours) {
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
  if (!is_ours && ::fchown(fd.get(), file.uid, file.gid) != 0) return Errno("fchown");
  const mode_t created = PrivateUmask::Created(file.mode & kPermissions);
  if (file.mode != created && ::fchmod(fd.get(), file.mode) != 0) return Errno("fchmod");
  const timespec times[] = {file.mtime, file.mtime};
  if (::futimens(fd.get(), times) != 0) return Errno("futimens");
  return Done{};
}

Status Describe(const NewFile& directory, bool is_ours) {
  const int parent_fd = directory.parent->get();
  const char* name = directory.name.c_str();
  if (!is_ours &&
      ::fchownat(parent_fd, name, directory.uid, directory.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return Errno("fchownat");
  }
  // The name is ours and no link.
  if (directory.mode != directory.present_mode &&
      ::fchmodat(parent_fd, name, directory.mode, 0) != 0) {
    return Errno("fchmodat");
  }
  const timespec times[] = {directory.mtime, directory.mtime};
  if (::utimensat(parent_fd, name, times, AT_SYMLINK_NOFOLLOW) != 0) return Errno("utimensat");
  return Done{};
}

}  // namespace

// What the creator shares with its stages, which end some time after it.
class FileCreator::Batches {
 public:
  static std::shared_ptr<Batches> Make(Workers& workers) {
    auto batches = std::make_shared<Batches>();
    for (std::unique_ptr<Stage>& stage : batches->stages_) {
      stage = std::make_unique<Stage>(
          workers,
          Stage::Options{Stage::Urgency::kLater, [raw = batches.get()] { return raw->Step(); },
                         [raw = batches.get()] { raw->Leave(); }});
    }
    batches->self_ = batches;
    return batches;
  }

  void Push(FileBatch batch) {
    bool is_much = false;
    {
      std::lock_guard lock(mutex_);
      queue_.push_back(std::move(batch));
      is_much = queue_.size() > kMaxBatches;
    }
    WakeAll();
    if (is_much) (void)MakeOne();
  }

  void Stop() {
    std::deque<FileBatch> dropped;
    {
      std::unique_lock lock(mutex_);
      stopping_ = true;
      dropped.swap(queue_);
      // Never for a stage that waits for a worker: these may all be here.
      idle_.wait(lock, [this] { return running_.empty(); });
    }
    WakeAll();
  }

  // Helps, since all other workers may have something else to do.
  void Drain() {
    while (MakeOne()) {
    }
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return running_.empty(); });
  }

  std::optional<FileFailure> failure() {
    std::lock_guard lock(mutex_);
    return failure_;
  }

 private:
  // The directories of a batch that is being made.
  struct Running {
    uint32_t first;
    uint32_t last;
  };

  void WakeAll() {
    for (const std::unique_ptr<Stage>& stage : stages_) stage->Wake();
  }

  Stage::Step Step() {
    if (MakeOne()) return Stage::Step::kMore;
    std::lock_guard lock(mutex_);
    return stopping_ ? Stage::Step::kEnd : Stage::Step::kWait;
  }

  void Leave() {
    std::shared_ptr<Batches> self;
    std::lock_guard lock(mutex_);
    if (++ended_ == stages_.size()) self = std::move(self_);
  }

  // False: there is nothing to make.
  bool MakeOne() {
    FileBatch batch;
    bool failed = false;
    std::list<Running>::iterator running;
    {
      std::lock_guard lock(mutex_);
      if (queue_.empty()) return false;
      const auto chosen = Choose();
      batch = std::move(*chosen);
      queue_.erase(chosen);
      running = running_.insert(running_.end(), {batch.first_directory, batch.last_directory});
      failed = failure_.has_value();
    }
    std::optional<FileFailure> failure;
    for (const NewFile& file : batch.files) {
      if (failed || failure) break;
      const bool is_ours = file.uid == uid_ && file.gid == gid_;
      Status made = file.present_mode ? Describe(file, is_ours) : Create(file, is_ours);
      if (!made.ok()) failure = FileFailure{std::move(made.failure()), file.place};
    }
    // Gives the memory back before anybody hears of it.
    batch = FileBatch{};
    {
      std::lock_guard lock(mutex_);
      if (failure && !failure_) failure_ = std::move(failure);
      running_.erase(running);
    }
    idle_.notify_all();
    return true;
  }

  // The first batch in whose directories nobody works: the kernel lets one thread at a time add to
  // a directory. Or simply the first.
  std::deque<FileBatch>::iterator Choose() {
    const auto free = std::find_if(queue_.begin(), queue_.end(), [this](const FileBatch& batch) {
      return std::none_of(running_.begin(), running_.end(), [&batch](const Running& other) {
        return other.last == batch.first_directory || other.first == batch.last_directory;
      });
    });
    return free == queue_.end() ? queue_.begin() : free;
  }

  // Whose files the kernel makes them.
  const uid_t uid_ = ::geteuid();
  const gid_t gid_ = ::getegid();
  std::array<std::unique_ptr<Stage>, 2> stages_;
  std::mutex mutex_;
  std::condition_variable idle_;
  std::deque<FileBatch> queue_;
  std::list<Running> running_;  // by the stages, and by Drain()
  std::optional<FileFailure> failure_;
  bool stopping_ = false;
  size_t ended_ = 0;
  // While a stage may still run.
  std::shared_ptr<Batches> self_;
};

FileCreator::FileCreator(Workers& workers) : batches_(Batches::Make(workers)) {}

FileCreator::~FileCreator() { batches_->Stop(); }

void FileCreator::Add(uint32_t directory, const std::shared_ptr<const void>& owner, NewFile file) {
  if (next_.files.size() >= kFewFiles && directory != next_.last_directory) Flush();
  if (next_.files.empty()) next_.first_directory = directory;
  next_.last_directory = directory;
  const bool is_kept = !next_.owners.empty() && next_.owners.back() == owner;
  if (owner != nullptr && !is_kept) next_.owners.push_back(owner);
  next_.files.push_back(std::move(file));
  if (next_.files.size() >= kBatchFiles) Flush();
}

std::optional<FileFailure> FileCreator::NextOwner() {
  if (next_.owners.size() >= kBatchOwners) Flush();
  return batches_->failure();
}

void FileCreator::Flush() {
  if (!next_.files.empty()) batches_->Push(std::exchange(next_, FileBatch{}));
}

std::optional<FileFailure> FileCreator::Drain() {
  Flush();
  batches_->Drain();
  return batches_->failure();
}

}  // namespace cais
