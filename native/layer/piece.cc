#include "layer/piece.h"

#include <utility>

namespace cais {

Piece::Piece(size_t capacity_bytes)
    : data(std::make_unique_for_overwrite<char[]>(capacity_bytes)), capacity(capacity_bytes) {}

PiecePool::PiecePool(Options options) : options_(std::move(options)) {}

PieceRef PiecePool::Acquire() {
  std::unique_lock lock(mutex_);
  freed_.wait(lock, [this] { return stopped_ || in_use_ < options_.max_pieces; });
  if (stopped_) return nullptr;
  return Take(lock);
}

PieceRef PiecePool::AcquireNow() {
  std::unique_lock lock(mutex_);
  return Take(lock);
}

PieceRef PiecePool::Take(std::unique_lock<std::mutex>& lock) {
  ++in_use_;
  std::unique_ptr<Piece> piece;
  if (!free_.empty()) {
    piece = std::move(free_.back());
    free_.pop_back();
  }
  lock.unlock();
  if (piece == nullptr) piece = std::make_unique<Piece>(options_.piece_bytes);
  piece->size = 0;
  return PieceRef(piece.release(), [this](Piece* used) { GiveBack(used); });
}

void PiecePool::GiveBack(Piece* piece) {
  std::unique_ptr<Piece> owned(piece);
  bool tell = false;
  {
    std::lock_guard lock(mutex_);
    --in_use_;
    // Pieces beyond the bound are freed, not kept.
    if (free_.size() + in_use_ < options_.max_pieces) free_.push_back(std::move(owned));
    if (room_wanted_ && in_use_ <= options_.max_pieces / 2) {
      room_wanted_ = false;
      tell = true;
    }
  }
  freed_.notify_one();
  if (tell && options_.on_room) options_.on_room();
}

bool PiecePool::HasRoom() {
  std::lock_guard lock(mutex_);
  if (in_use_ < options_.max_pieces) return true;
  room_wanted_ = true;
  return false;
}

void PiecePool::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  freed_.notify_all();
}

void PieceQueue::Push(PieceRef piece) {
  {
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    pieces_.push_back(std::move(piece));
  }
  changed_.notify_one();
}

void PieceQueue::Close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_one();
}

std::optional<PieceRef> PieceQueue::Pop() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopped_ || closed_ || !pieces_.empty(); });
  if (stopped_) return std::nullopt;
  if (pieces_.empty()) return PieceRef();
  PieceRef piece = std::move(pieces_.front());
  pieces_.pop_front();
  return piece;
}

void PieceQueue::Stop() {
  std::deque<PieceRef> dropped;
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    dropped.swap(pieces_);
  }
  changed_.notify_all();
}

}  // namespace cais
