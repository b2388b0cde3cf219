#include "layer/zstd_stream.h"

#include <deque>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "layer/zstd_batch.h"
#include "layer/zstd_reader.h"
#include "layer/zstd_writer.h"

namespace cais {
namespace {

// One is being read, and one followed. With a third nothing was faster beyond the noise.
constexpr size_t kBatches = 2;

// Batches on their way from the first half to the second, and back to be used again.
class BatchQueue {
 public:
  explicit BatchQueue(const DecompressorOptions& options)
      : on_read_(options.on_read), on_followed_(options.on_followed) {}

  // An empty one; null when all are on their way, `on_followed` tells when that is over.
  std::unique_ptr<ZstdBatch> TakeFree() {
    std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      std::unique_ptr<ZstdBatch> batch = std::move(free_.back());
      free_.pop_back();
      return batch;
    }
    if (made_ < kBatches) {
      ++made_;
      return std::make_unique<ZstdBatch>();
    }
    is_free_wanted_ = true;
    return nullptr;
  }
  void Push(std::unique_ptr<ZstdBatch> batch) {
    {
      std::lock_guard lock(mutex_);
      read_.push_back(std::move(batch));
    }
    if (on_read_) on_read_();
  }
  void Close() {
    {
      std::lock_guard lock(mutex_);
      is_closed_ = true;
    }
    if (on_read_) on_read_();
  }
  // The next one, null when there is none; `ended` is set when there will be none again.
  std::unique_ptr<ZstdBatch> Pop(bool& ended) {
    std::lock_guard lock(mutex_);
    ended = read_.empty() && is_closed_;
    if (read_.empty()) return nullptr;
    std::unique_ptr<ZstdBatch> batch = std::move(read_.front());
    read_.pop_front();
    return batch;
  }
  void GiveBack(std::unique_ptr<ZstdBatch> batch) {
    batch->Clear();
    bool tell = false;
    {
      std::lock_guard lock(mutex_);
      free_.push_back(std::move(batch));
      tell = std::exchange(is_free_wanted_, false);
    }
    if (tell && on_followed_) on_followed_();
  }

 private:
  const std::function<void()> on_read_;
  const std::function<void()> on_followed_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<ZstdBatch>> free_;
  std::deque<std::unique_ptr<ZstdBatch>> read_;
  size_t made_ = 0;
  bool is_free_wanted_ = false;
  bool is_closed_ = false;
};

class Zstd final : public Decompressor {
 public:
  explicit Zstd(const DecompressorOptions& options)
      : queue_(options), writer_(options.pieces, options.verify_checksums) {}

  bool is_divided() const override { return true; }

  Result<Step> Run(std::string_view input) override {
    Step step;
    if (reading_ == nullptr) reading_ = queue_.TakeFree();
    if (reading_ == nullptr) {
      step.is_full = true;
      return step;
    }
    Result<size_t> taken = reader_.Run(input, *reading_);
    if (!taken.ok()) return std::move(taken.failure());
    step.consumed = taken.value();
    if (!reading_->items.empty()) queue_.Push(std::move(reading_));
    return step;
  }

  Result<PieceRef> Finish() override {
    if (!reader_.is_between_frames()) return Refuse("TRUNCATED", "The zstd stream ends early");
    queue_.Close();
    return PieceRef();
  }

  Result<Followed> Follow() override {
    bool ended = false;
    if (following_ == nullptr) following_ = queue_.Pop(ended);
    if (ended) return Followed{writer_.Take(), Followed::kEnded};
    if (following_ == nullptr) return Followed{};
    Result<ZstdWriter::Progress> progress = writer_.Run(*following_);
    if (!progress.ok()) return std::move(progress.failure());
    switch (progress.value()) {
      case ZstdWriter::Progress::kFull:
        return Followed{};
      case ZstdWriter::Progress::kPiece:
        return Followed{writer_.Take(), Followed::kMore};
      case ZstdWriter::Progress::kDone:
        break;
    }
    queue_.GiveBack(std::move(following_));
    return Followed{nullptr, Followed::kMore};
  }

 private:
  BatchQueue queue_;
  // The first half.
  ZstdReader reader_;
  std::unique_ptr<ZstdBatch> reading_;
  // The second.
  ZstdWriter writer_;
  std::unique_ptr<ZstdBatch> following_;
};

}  // namespace

Result<std::unique_ptr<Decompressor>> OpenZstd(const DecompressorOptions& options) {
  return Result<std::unique_ptr<Decompressor>>(std::make_unique<Zstd>(options));
}

}  // namespace cais
