#include "layer/pipeline.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "layer/disk_reserve.h"
#include "layer/tar_header.h"

namespace cais {
namespace {

// Large, since waking the next thread costs up to 55 µs on a virtual machine; few, since they bound
// the memory of a layer: 2 MiB compressed and 4 MiB of tar.
constexpr size_t kPieceBytes = 512 << 10;
constexpr size_t kBlobPieces = 4;
constexpr size_t kTarPieces = 8;
// With so many left to digest, the tar's digest is what the other stages wait for: bytes that are
// quick to decompress are decompressed faster than a core can digest them.
constexpr size_t kDuePieces = kTarPieces / 2;
// The first piece from a network is handed over early, and each one after it has twice its size:
// nobody has anything to do before it comes.
constexpr size_t kFirstPieceBytes = 64 << 10;

}  // namespace

LayerPipeline::LayerPipeline(Workers& workers, PipelineOptions options)
    : workers_(workers),
      options_(std::move(options)),
      // Decompression first: it is the longest of the stages that cannot be divided.
      intake_(workers, StageOptions(Urgency::kLater, &LayerPipeline::Intake)),
      hash_blob_(workers, StageOptions(Urgency::kRareDigest, &LayerPipeline::HashBlob)),
      decode_(workers, StageOptions(Urgency::kSoon, &LayerPipeline::Decode)),
      follow_(workers, StageOptions(Urgency::kSoon, &LayerPipeline::Follow)),
      hash_tar_(workers, StageOptions(Urgency::kDigest, &LayerPipeline::HashTar)),
      untar_(workers, StageOptions(Urgency::kLater, &LayerPipeline::ReadTar)),
      blob_pool_({kPieceBytes, kBlobPieces, options_.on_room, {}}),
      hand_over_bytes_(kFirstPieceBytes),
      blob_(options_.expected_bytes) {}

Result<std::unique_ptr<LayerPipeline>> LayerPipeline::Start(Workers& workers,
                                                            PipelineOptions options) {
  UniqueFd directory(::open(options.directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return Errno("open", options.directory);
  UniqueFd stop_event(::eventfd(0, EFD_CLOEXEC));
  if (!stop_event) return Errno("eventfd");
  if (Status started = workers.Start(); !started.ok()) return std::move(started.failure());
  std::unique_ptr<LayerPipeline> pipeline(new LayerPipeline(workers, std::move(options)));
  pipeline->directory_ = std::move(directory);
  pipeline->stop_event_ = std::move(stop_event);
  return pipeline;
}

LayerPipeline::~LayerPipeline() {
  Abort();
  std::unique_lock lock(mutex_);
  ended_changed_.wait(lock, [this] { return ended_; });
}

Stage::Options LayerPipeline::StageOptions(Urgency urgency, StageFunction run) {
  ++running_;
  return {urgency,
          [this, run] {
            if (failed()) return Step::kEnd;
            Result<Step> step = (this->*run)();
            if (step.ok()) return step.value();
            Fail(std::move(step.failure()));
            return Step::kEnd;
          },
          [this, run] {
            // The threads of the directory form must have left the directory.
            if (run == &LayerPipeline::ReadTar) {
              reader_.reset();
              end_.reset();
            }
            Leave();
          }};
}

void LayerPipeline::Leave() {
  {
    std::lock_guard lock(mutex_);
    if (--running_ > 0) return;
  }
  if (options_.on_end) options_.on_end();
  // Under the lock: who waits for this may destroy everything as soon as it is released.
  std::lock_guard lock(mutex_);
  ended_ = true;
  ended_changed_.notify_all();
}

void LayerPipeline::Fail(Failure failure) {
  {
    std::lock_guard lock(mutex_);
    if (failure_ || running_ == 0) return;
    failure_ = NameFullDisk(std::move(failure), options_.directory);
    // Nothing is destroyed before the stages have been told.
    ++running_;
  }
  for (PieceQueue* queue :
       {&intake_queue_, &hash_blob_queue_, &decode_queue_, &hash_tar_queue_, &untar_queue_}) {
    queue->Stop();
  }
  blob_pool_.Stop();
  // Ends the poll of a feeding thread.
  (void)::eventfd_write(stop_event_.get(), 1);
  for (Stage* stage : {&intake_, &hash_blob_, &decode_, &follow_, &hash_tar_, &untar_}) {
    stage->Wake();
  }
  Leave();
}

bool LayerPipeline::failed() {
  std::lock_guard lock(mutex_);
  return failure_.has_value();
}

void LayerPipeline::Abort() {
  Fail(Refuse("ABORTED", "The layer in \"" + options_.directory + "\" was aborted"));
}

Result<LayerOutcome> LayerPipeline::TakeOutcome() {
  std::unique_lock lock(mutex_);
  ended_changed_.wait(lock, [this] { return ended_; });
  if (failure_) return *failure_;
  return std::move(outcome_);
}

void LayerPipeline::Hand(PieceQueue& queue, Stage& stage, PieceRef piece) {
  queue.Push(std::move(piece));
  stage.Wake();
}

void LayerPipeline::CloseQueue(PieceQueue& queue, Stage& stage) {
  queue.Close();
  stage.Wake();
}

bool LayerPipeline::Write(std::string_view bytes) {
  if (failed()) {
    writing_.reset();
    return true;
  }
  while (!bytes.empty()) {
    if (writing_ == nullptr) writing_ = blob_pool_.AcquireNow();
    const size_t part = std::min(bytes.size(), writing_->room());
    std::memcpy(writing_->end(), bytes.data(), part);
    writing_->size += part;
    bytes.remove_prefix(part);
    HandOver(hand_over_bytes_);
  }
  return blob_pool_.HasRoom();
}

void LayerPipeline::HandOver(size_t enough_bytes) {
  if (writing_ == nullptr || writing_->size < enough_bytes) return;
  Hand(intake_queue_, intake_, std::move(writing_));
  hand_over_bytes_ = std::min(2 * hand_over_bytes_, kPieceBytes);
}

void LayerPipeline::CloseInput(std::optional<std::string> diff_id) {
  // Whoever compares it has seen that the queue is closed.
  following_diff_id_ = std::move(diff_id);
  HandOver(1);
  CloseQueue(intake_queue_, intake_);
}

Result<bool> LayerPipeline::StartFeeder(std::function<void()> feed) {
  // The one before has nothing left to do.
  feeder_.Join();
  {
    std::lock_guard lock(mutex_);
    // Too late for another thread: the last stage may have called on_end.
    if (failure_) return false;
    ++running_;
  }
  Result<Thread> thread = Thread::Start("cais-feed", [this, feed = std::move(feed)] {
    feed();
    Leave();
  });
  if (!thread.ok()) {
    Leave();
    return std::move(thread.failure());
  }
  feeder_ = std::move(thread.value());
  return true;
}

Status LayerPipeline::ReadFrom(int fd) {
  source_fd_ = fd;
  Result<bool> started = StartFeeder([this] {
    if (Status fed = Feed(); !fed.ok()) Fail(std::move(fed.failure()));
  });
  if (!started.ok()) return std::move(started.failure());
  return Done{};
}

Status LayerPipeline::Feed() {
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
      const ssize_t got = ::read(source_fd_, piece->end(), piece->room());
      if (got < 0 && errno != EINTR && errno != EAGAIN) return Errno("read", "source of the layer");
      if (got == 0) {
        if (piece->size > 0) Hand(intake_queue_, intake_, std::move(piece));
        CloseQueue(intake_queue_, intake_);
        return Done{};
      }
      if (got > 0) piece->size += static_cast<size_t>(got);
    }
    Hand(intake_queue_, intake_, std::move(piece));
  }
}

Result<bool> LayerPipeline::Receive(UniqueFd socket, uint64_t bytes,
                                    std::chrono::milliseconds idle_timeout) {
  // A std::function must be copyable.
  auto source = std::make_shared<SocketSource>(std::move(socket), stop_event_.get(), idle_timeout);
  return StartFeeder([this, source, bytes]() mutable {
    reception_ = ReceiveAll(*source, bytes);
    source.reset();
    options_.on_received();
  });
}

Reception LayerPipeline::ReceiveAll(SocketSource& source, uint64_t bytes) {
  uint64_t left = bytes;
  while (left > 0) {
    if (writing_ == nullptr) writing_ = blob_pool_.Acquire();
    if (writing_ == nullptr) return {bytes - left, SocketSource::End::kStopped};
    const auto room = static_cast<size_t>(std::min<uint64_t>(left, writing_->room()));
    const size_t wanted = std::min(room, hand_over_bytes_ - writing_->size);
    const size_t got = source.Read(writing_->end(), wanted, room);
    if (got == 0) break;
    writing_->size += got;
    left -= got;
    received_bytes_ += got;
    HandOver(left > 0 ? hand_over_bytes_ : 1);
  }
  return {bytes - left, source.end(), source.error()};
}

Result<LayerPipeline::Step> LayerPipeline::Intake() {
  if (!std::exchange(blob_open_, true) && options_.save_blob) {
    Status created = blob_.CreateFile(directory_.get(), options_.end_limits.reserve_bytes);
    if (!created.ok()) return std::move(created.failure());
  }
  bool ended = false;
  const PieceRef piece = intake_queue_.TryPop(ended);
  if (piece != nullptr) {
    // Too many bytes must not look like a bad layer.
    if (Status counted = blob_.Count(piece->size); !counted.ok()) {
      return std::move(counted.failure());
    }
    // The next stages first, so that all work on the piece at the same time.
    Hand(decode_queue_, decode_, piece);
    Hand(hash_blob_queue_, hash_blob_, piece);
    if (Status written = blob_.Write(piece->view()); !written.ok()) {
      return std::move(written.failure());
    }
    return Step::kMore;
  }
  if (!ended) return Step::kWait;
  if (Status finished = blob_.Finish(); !finished.ok()) return std::move(finished.failure());
  outcome_.blob_bytes = blob_.size_bytes();
  CloseQueue(hash_blob_queue_, hash_blob_);
  return Step::kEnd;
}

Result<LayerPipeline::Step> LayerPipeline::HashBlob() {
  bool ended = false;
  if (PieceRef piece = hash_blob_queue_.TryPop(ended); piece != nullptr) {
    hash_blob_.Digest(blob_sha256_, std::move(piece));
    return Step::kMore;
  }
  if (!ended) return Step::kWait;
  outcome_.digest = blob_sha256_.Finish();
  if (options_.expected_digest && outcome_.digest != *options_.expected_digest) {
    return Refuse("DIGEST_MISMATCH", "The blob has the digest " + outcome_.digest + ", expected " +
                                         *options_.expected_digest);
  }
  // Only now: a blob that is cut off shows as the wrong size or digest, not as a layer that is made
  // wrongly.
  CloseQueue(decode_queue_, decode_);
  return Step::kEnd;
}

Result<LayerPipeline::Step> LayerPipeline::Decode() {
  if (compressed_ == nullptr) {
    bool ended = false;
    compressed_ = decode_queue_.TryPop(ended);
    if (compressed_ == nullptr && !ended) return Step::kWait;
    compressed_rest_ = compressed_ == nullptr ? std::string_view() : compressed_->view();
    if (!std::exchange(decoder_open_, true)) {
      if (Status opened = OpenDecoder(compressed_rest_); !opened.ok()) {
        return std::move(opened.failure());
      }
    }
    if (compressed_ == nullptr) return EndDecode();
  }
  return decompressor_ == nullptr ? PassThrough() : Decompress();
}

Status LayerPipeline::OpenDecoder(std::string_view first_bytes) {
  outcome_.compression = DetectCompression(first_bytes);
  if (outcome_.compression != Compression::kNone) {
    Stage& writer = outcome_.compression == Compression::kZstd ? follow_ : decode_;
    Result<std::unique_ptr<Decompressor>> decompressor = OpenDecompressor(
        outcome_.compression,
        {.gzip_library = options_.gzip_library,
         .verify_checksums = !options_.expected_diff_id.has_value() && !options_.diff_id_follows,
         .pieces = {kPieceBytes, kTarPieces, {}, [&writer] { writer.Wake(); }},
         .on_read = [this] { follow_.Wake(); },
         .on_followed = [this] { decode_.Wake(); }});
    if (!decompressor.ok()) return std::move(decompressor.failure());
    decompressor_ = std::move(decompressor.value());
    // In one part it takes as long as all others together: they catch up when it has no room left.
    if (!decompressor_->is_divided()) decode_.SetUrgency(Urgency::kFirst);
  }
  // Only now: it ends when there is nothing to follow.
  follow_.Wake();
  if (decompressor_ != nullptr) return Done{};
  const std::string_view other = UnsupportedCompression(first_bytes);
  if (!other.empty() && (first_bytes.size() < kTarBlockBytes ||
                         !ParseTarHeader(first_bytes.substr(0, kTarBlockBytes)).ok())) {
    return Refuse("BAD_COMPRESSION", "The layer is compressed by " + std::string(other) +
                                         "; only gzip, zstd and no compression are supported");
  }
  return Done{};
}

Result<LayerPipeline::Step> LayerPipeline::PassThrough() {
  if (Status published = PublishTar(std::exchange(compressed_, nullptr)); !published.ok()) {
    return std::move(published.failure());
  }
  return Step::kMore;
}

// Fills one piece of the tar, or uses up one of the blob.
Result<LayerPipeline::Step> LayerPipeline::Decompress() {
  Result<Decompressor::Step> step = decompressor_->Run(compressed_rest_);
  if (!step.ok()) return std::move(step.failure());
  auto& [consumed, piece, is_full] = step.value();
  compressed_rest_.remove_prefix(consumed);
  if (is_full) return Step::kWait;
  if (piece != nullptr) {
    if (Status published = PublishTar(std::move(piece)); !published.ok()) {
      return std::move(published.failure());
    }
  } else if (compressed_rest_.empty()) {
    compressed_.reset();
  } else if (consumed == 0) {
    return Refuse("BAD_COMPRESSION", "The decompression of the layer makes no progress");
  }
  return Step::kMore;
}

Result<LayerPipeline::Step> LayerPipeline::EndDecode() {
  if (decompressor_ != nullptr) {
    Result<PieceRef> last = decompressor_->Finish();
    if (!last.ok()) return std::move(last.failure());
    if (decompressor_->is_divided()) return Step::kEnd;
    if (last.value() != nullptr) {
      if (Status published = PublishTar(std::move(last.value())); !published.ok()) {
        return std::move(published.failure());
      }
    }
  } else if (Status checked = CheckDiffId(outcome_.digest); !checked.ok()) {
    // The tar is the blob.
    return std::move(checked.failure());
  }
  CloseTar();
  return Step::kEnd;
}

Result<LayerPipeline::Step> LayerPipeline::Follow() {
  if (decompressor_ == nullptr || !decompressor_->is_divided()) return Step::kEnd;
  Result<Decompressor::Followed> followed = decompressor_->Follow();
  if (!followed.ok()) return std::move(followed.failure());
  auto& [piece, next] = followed.value();
  if (piece != nullptr) {
    if (Status published = PublishTar(std::move(piece)); !published.ok()) {
      return std::move(published.failure());
    }
  }
  if (next != Decompressor::Followed::kEnded) {
    return next == Decompressor::Followed::kMore ? Step::kMore : Step::kWait;
  }
  CloseTar();
  return Step::kEnd;
}

void LayerPipeline::CloseTar() {
  CloseQueue(hash_tar_queue_, hash_tar_);
  CloseQueue(untar_queue_, untar_);
}

Status LayerPipeline::PublishTar(PieceRef piece) {
  outcome_.tar_bytes += piece->size;
  if (outcome_.tar_bytes > options_.max_tar_bytes) {
    return Refuse("LIMIT_EXCEEDED", "The layer has more than " +
                                        std::to_string(options_.max_tar_bytes) +
                                        " bytes uncompressed (limit maxTarBytes)");
  }
  if (outcome_.compression != Compression::kNone) Hand(hash_tar_queue_, hash_tar_, piece);
  Hand(untar_queue_, untar_, std::move(piece));
  return Done{};
}

Result<LayerPipeline::Step> LayerPipeline::HashTar() {
  bool ended = false;
  if (PieceRef piece = hash_tar_queue_.TryPop(ended); piece != nullptr) {
    hash_tar_.SetUrgency(hash_tar_queue_.size() < kDuePieces ? Urgency::kDigest
                                                             : Urgency::kDueDigest);
    hash_tar_.Digest(tar_sha256_, std::move(piece));
    return Step::kMore;
  }
  if (!ended) return Step::kWait;
  if (outcome_.compression != Compression::kNone) {
    if (Status checked = CheckDiffId(tar_sha256_.Finish()); !checked.ok()) {
      return std::move(checked.failure());
    }
  }
  return Step::kEnd;
}

Status LayerPipeline::CheckDiffId(std::string diff_id) {
  const std::optional<std::string>& expected =
      options_.diff_id_follows ? following_diff_id_ : options_.expected_diff_id;
  if (options_.diff_id_follows && !expected) {
    return Refuse("DIFF_ID_MISMATCH", "The uncompressed layer has the digest " + diff_id +
                                          ", and nobody said what it must be");
  }
  if (expected && diff_id != *expected) {
    return Refuse("DIFF_ID_MISMATCH", "The uncompressed layer has the digest " + diff_id +
                                          ", expected the diff ID " + *expected);
  }
  outcome_.diff_id = std::move(diff_id);
  return Done{};
}

Result<LayerPipeline::Step> LayerPipeline::ReadTar() {
  if (end_ == nullptr) {
    Result<std::unique_ptr<LayerEnd>> end =
        options_.open_end(directory_.get(), options_.end_limits, workers_);
    if (!end.ok()) return std::move(end.failure());
    end_ = std::move(end.value());
    reader_.emplace(
        *end_, TarLimits{options_.end_limits.max_entries, options_.end_limits.max_metadata_bytes});
  }
  bool ended = false;
  const PieceRef piece = untar_queue_.TryPop(ended);
  if (piece != nullptr) {
    end_->Keep(piece);
    if (Status fed = reader_->Feed(piece->view()); !fed.ok()) return std::move(fed.failure());
    return Step::kMore;
  }
  end_->Release();
  if (!ended) return Step::kWait;
  Result<EndSummary> summary = reader_->Finish();
  if (!summary.ok()) return std::move(summary.failure());
  outcome_.layer = std::move(summary.value());
  return Step::kEnd;
}

}  // namespace cais
