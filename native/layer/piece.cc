#include "layer/piece.h"

#include <utility>

namespace cais {

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
  std::unique_ptr<char[]> memory;
  if (!free_.empty()) {
    memory = std::move(free_.back());
    free_.pop_back();
  }
  lock.unlock();
  if (memory == nullptr) memory = std::make_unique_for_overwrite<char[]>(options_.piece_bytes);
  return PieceRef(new Piece{memory.release(), options_.piece_bytes}, [this](Piece* used) {
    GiveBack(used->data);
    delete used;
  });
}

void PiecePool::GiveBack(char* memory) {
  std::unique_ptr<char[]> owned(memory);
  bool tell = false;
  bool tell_free = false;
  {
    std::lock_guard lock(mutex_);
    --in_use_;
    // What is beyond the bound is freed, not kept.
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

size_t PieceQueue::size() {
  std::lock_guard lock(mutex_);
  return pieces_.size();
}

void PieceQueue::Stop() {
  std::deque<PieceRef> dropped;
  std::lock_guard lock(mutex_);
  stopped_ = true;
  dropped.swap(pieces_);
}

}  // namespace cais
