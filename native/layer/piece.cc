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

PieceRef PiecePool::TryAcquire() {
  std::unique_lock lock(mutex_);
  piece_wanted_ = in_use_ >= options_.max_pieces;
  if (piece_wanted_) return nullptr;
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
  bool tell_free = false;
  {
    std::lock_guard lock(mutex_);
    --in_use_;
    // Pieces beyond the bound are freed, not kept.
    if (free_.size() + in_use_ < options_.max_pieces) free_.push_back(std::move(owned));
    if (room_wanted_ && in_use_ <= options_.max_pieces / 2) {
      room_wanted_ = false;
      tell = true;
    }
    if (in_use_ < options_.max_pieces) tell_free = std::exchange(piece_wanted_, false);
  }
  freed_.notify_one();
  if (tell && options_.on_room) options_.on_room();
  if (tell_free && options_.on_free) options_.on_free();
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
  std::lock_guard lock(mutex_);
  if (!stopped_) pieces_.push_back(std::move(piece));
}

void PieceQueue::Close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
}

PieceRef PieceQueue::TryPop(bool& ended) {
  std::lock_guard lock(mutex_);
  ended = false;
  if (pieces_.empty()) {
    ended = closed_ && !stopped_;
    return nullptr;
  }
  PieceRef piece = std::move(pieces_.front());
  pieces_.pop_front();
  return piece;
}

void PieceQueue::Stop() {
  std::deque<PieceRef> dropped;
  std::lock_guard lock(mutex_);
  stopped_ = true;
  dropped.swap(pieces_);
}

}  // namespace cais
