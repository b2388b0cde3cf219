#include "layer/pipeline.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "layer/disk_reserve.h"
#include "layer/sha256.h"
#include "layer/tar_header.h"
#include "layer/tar_reader.h"

namespace cais {
namespace {

// Large, since waking the next thread costs up to 55 µs on a virtual machine; few, since they bound
// the memory of a layer: 2 MiB compressed and 4 MiB of tar.
constexpr size_t kPieceBytes = 512 << 10;
constexpr size_t kBlobPieces = 4;
constexpr size_t kTarPieces = 8;

}  // namespace

LayerPipeline::LayerPipeline(PipelineOptions options)
    : options_(std::move(options)),
      blob_pool_({kPieceBytes, kBlobPieces, options_.on_room}),
      tar_pool_({kPieceBytes, kTarPieces, {}}) {}

Result<std::unique_ptr<LayerPipeline>> LayerPipeline::Start(PipelineOptions options) {
  std::unique_ptr<LayerPipeline> pipeline(new LayerPipeline(std::move(options)));
  const std::string& directory = pipeline->options_.directory;
  pipeline->directory_.Reset(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!pipeline->directory_) return Errno("open", directory);
  pipeline->stop_event_.Reset(::eventfd(0, EFD_CLOEXEC));
  if (!pipeline->stop_event_) return Errno("eventfd");
  constexpr std::pair<const char*, Stage> kStages[] = {
      {"cais-intake", &LayerPipeline::Intake},
      {"cais-inflate", &LayerPipeline::Decode},
      {"cais-diffid", &LayerPipeline::HashTar},
      {"cais-untar", &LayerPipeline::ReadTar},
  };
  for (const auto& [name, stage] : kStages) {
    if (Status started = pipeline->StartThread(name, stage); !started.ok()) {
      return std::move(started.failure());
    }
  }
  pipeline->Leave();
  return pipeline;
}

LayerPipeline::~LayerPipeline() {
  Abort();
  threads_.clear();
}

Status LayerPipeline::StartThread(const char* name, Stage stage) {
  std::lock_guard lock(mutex_);
  // Too late for another thread: the last one may have called on_end.
  if (failure_) return Done{};
  Result<Thread> thread = Thread::Start(name, [this, stage] { RunStage(stage); });
  if (!thread.ok()) return std::move(thread.failure());
  threads_.push_back(std::move(thread.value()));
  ++running_;
  return Done{};
}

void LayerPipeline::RunStage(Stage stage) {
  Status result = (this->*stage)();
  if (!result.ok()) Fail(std::move(result.failure()));
  Leave();
}

void LayerPipeline::Leave() {
  {
    std::lock_guard lock(mutex_);
    if (--running_ > 0) return;
  }
  if (options_.on_end) options_.on_end();
}

void LayerPipeline::Fail(Failure failure) {
  {
    std::lock_guard lock(mutex_);
    if (failure_ || running_ == 0) return;
    failure_ = NameFullDisk(std::move(failure), options_.directory);
  }
  for (PieceQueue* queue : {&intake_queue_, &decode_queue_, &hash_queue_, &tar_queue_}) {
    queue->Stop();
  }
  blob_pool_.Stop();
  tar_pool_.Stop();
  // Ends the poll of FeedFromFile().
  (void)::eventfd_write(stop_event_.get(), 1);
}

bool LayerPipeline::failed() {
  std::lock_guard lock(mutex_);
  return failure_.has_value();
}

void LayerPipeline::Abort() {
  Fail(Refuse("ABORTED", "The layer in \"" + options_.directory + "\" was aborted"));
}

Result<LayerOutcome> LayerPipeline::TakeOutcome() {
  threads_.clear();
  if (failure_) return *failure_;
  return std::move(outcome_);
}

bool LayerPipeline::Write(std::string_view bytes) {
  if (failed()) {
    writing_.reset();
    return true;
  }
  while (!bytes.empty()) {
    if (writing_ == nullptr) writing_ = blob_pool_.AcquireNow();
    const size_t part = std::min(bytes.size(), writing_->room());
    std::memcpy(writing_->data.get() + writing_->size, bytes.data(), part);
    writing_->size += part;
    bytes.remove_prefix(part);
    if (writing_->room() == 0) intake_queue_.Push(std::move(writing_));
  }
  return blob_pool_.HasRoom();
}

void LayerPipeline::CloseInput() {
  if (writing_ != nullptr) intake_queue_.Push(std::move(writing_));
  intake_queue_.Close();
}

Status LayerPipeline::ReadFrom(int fd) {
  source_fd_ = fd;
  return StartThread("cais-feed", &LayerPipeline::FeedFromFile);
}

Status LayerPipeline::FeedFromFile() {
  for (;;) {
    PieceRef piece = blob_pool_.Acquire();
    if (piece == nullptr) return Done{};
    // Every piece but the last is full.
    while (piece->room() > 0) {
      pollfd waits[] = {{source_fd_, POLLIN, 0}, {stop_event_.get(), POLLIN, 0}};
      if (::poll(waits, 2, -1) < 0) {
        if (errno == EINTR) continue;
        return Errno("poll", "source of the layer");
      }
      if (waits[1].revents != 0) return Done{};
      const ssize_t got = ::read(source_fd_, piece->data.get() + piece->size, piece->room());
      if (got < 0 && errno != EINTR && errno != EAGAIN) return Errno("read", "source of the layer");
      if (got == 0) {
        if (piece->size > 0) intake_queue_.Push(std::move(piece));
        intake_queue_.Close();
        return Done{};
      }
      if (got > 0) piece->size += static_cast<size_t>(got);
    }
    intake_queue_.Push(std::move(piece));
  }
}

Status LayerPipeline::Intake() {
  BlobWriter blob(std::move(options_.expected_blob));
  if (options_.save_blob) {
    Status created = blob.CreateFile(directory_.get(), options_.end_limits.reserve_bytes);
    if (!created.ok()) return created;
  }
  for (;;) {
    std::optional<PieceRef> piece = intake_queue_.Pop();
    if (!piece) return Done{};
    if (*piece == nullptr) break;
    // The next stage first, so that both work on the piece at the same time.
    decode_queue_.Push(*piece);
    if (Status written = blob.Write((*piece)->view()); !written.ok()) return written;
  }
  Result<BlobSummary> summary = blob.Finish();
  if (!summary.ok()) return std::move(summary.failure());
  outcome_.blob = std::move(summary.value());
  // Only now: a blob that is cut off shows here as the wrong size or digest, not as a layer that is
  // made wrongly.
  decode_queue_.Close();
  return Done{};
}

Status LayerPipeline::Decode() {
  std::optional<PieceRef> first = decode_queue_.Pop();
  if (!first) return Done{};
  const std::string_view bytes = *first == nullptr ? std::string_view() : (*first)->view();
  outcome_.compression = DetectCompression(bytes);
  const Status passed = outcome_.compression == Compression::kNone ? PassThrough(std::move(*first))
                                                                   : Decompress(std::move(*first));
  if (!passed.ok() || failed()) return passed;
  hash_queue_.Close();
  tar_queue_.Close();
  return Done{};
}

Status LayerPipeline::PassThrough(PieceRef piece) {
  if (piece != nullptr) {
    const std::string_view other = UnsupportedCompression(piece->view());
    if (!other.empty() && (piece->size < kTarBlockBytes ||
                           !ParseTarHeader(piece->view().substr(0, kTarBlockBytes)).ok())) {
      return Refuse("BAD_COMPRESSION", "The layer is compressed by " + std::string(other) +
                                           "; only gzip, zstd and no compression are supported");
    }
  }
  while (piece != nullptr) {
    if (Status published = PublishTar(std::move(piece)); !published.ok()) return published;
    std::optional<PieceRef> next = decode_queue_.Pop();
    if (!next) return Done{};
    piece = std::move(*next);
  }
  // The tar is the blob.
  return CheckDiffId(outcome_.blob.digest);
}

Status LayerPipeline::Decompress(PieceRef piece) {
  Result<std::unique_ptr<Decompressor>> decompressor =
      OpenDecompressor(outcome_.compression, options_.gzip_library);
  if (!decompressor.ok()) return std::move(decompressor.failure());
  PieceRef tar;
  while (piece != nullptr) {
    std::string_view input = piece->view();
    for (bool full = false; full || !input.empty();) {
      if (tar == nullptr && (tar = tar_pool_.Acquire()) == nullptr) return Done{};
      const auto step = decompressor.value()->Run(input, tar->data.get() + tar->size, tar->room());
      if (!step.ok()) return step.failure();
      input.remove_prefix(step.value().consumed);
      tar->size += step.value().produced;
      full = tar->room() == 0;
      if (!full && !input.empty() && step.value().consumed + step.value().produced == 0) {
        return Refuse("BAD_COMPRESSION", "The decompression of the layer makes no progress");
      }
      if (!full) continue;
      if (Status published = PublishTar(std::exchange(tar, nullptr)); !published.ok()) {
        return published;
      }
    }
    std::optional<PieceRef> next = decode_queue_.Pop();
    if (!next) return Done{};
    piece = std::move(*next);
  }
  if (Status finished = decompressor.value()->Finish(); !finished.ok()) return finished;
  return tar == nullptr ? Status(Done{}) : PublishTar(std::move(tar));
}

Status LayerPipeline::PublishTar(PieceRef piece) {
  outcome_.tar_bytes += piece->size;
  if (outcome_.tar_bytes > options_.max_tar_bytes) {
    return Refuse("LIMIT_EXCEEDED", "The layer has more than " +
                                        std::to_string(options_.max_tar_bytes) +
                                        " bytes uncompressed (limit maxTarBytes)");
  }
  if (outcome_.compression != Compression::kNone) hash_queue_.Push(piece);
  tar_queue_.Push(std::move(piece));
  return Done{};
}

Status LayerPipeline::HashTar() {
  Sha256 sha256;
  for (;;) {
    std::optional<PieceRef> piece = hash_queue_.Pop();
    if (!piece) return Done{};
    if (*piece == nullptr) break;
    sha256.Update((*piece)->view());
  }
  return outcome_.compression == Compression::kNone ? Status(Done{}) : CheckDiffId(sha256.Finish());
}

Status LayerPipeline::CheckDiffId(std::string diff_id) {
  if (options_.expected_diff_id && diff_id != *options_.expected_diff_id) {
    return Refuse("DIFF_ID_MISMATCH", "The uncompressed layer has the digest " + diff_id +
                                          ", expected the diff ID " + *options_.expected_diff_id);
  }
  outcome_.diff_id = std::move(diff_id);
  return Done{};
}

Status LayerPipeline::ReadTar() {
  Result<std::unique_ptr<LayerEnd>> end = options_.open_end(directory_.get(), options_.end_limits);
  if (!end.ok()) return std::move(end.failure());
  TarReader reader(*end.value(),
                   {options_.end_limits.max_entries, options_.end_limits.max_metadata_bytes});
  for (;;) {
    std::optional<PieceRef> piece = tar_queue_.Pop();
    if (!piece) return Done{};
    if (*piece == nullptr) break;
    end.value()->Keep(*piece);
    if (Status fed = reader.Feed((*piece)->view()); !fed.ok()) return fed;
  }
  Result<EndSummary> summary = reader.Finish();
  if (!summary.ok()) return std::move(summary.failure());
  outcome_.layer = std::move(summary.value());
  return Done{};
}

}  // namespace cais
