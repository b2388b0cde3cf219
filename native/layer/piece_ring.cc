#include "layer/piece_ring.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace cais {

void PieceRing::Free::operator()(char* memory) const { std::free(memory); }

std::shared_ptr<PieceRing> PieceRing::Make(size_t capacity, std::function<void()> on_free) {
  // A stream from outside decides how much: unlike new, malloc says when there is none.
  auto* memory = static_cast<char*>(std::malloc(capacity));
  if (memory == nullptr) return nullptr;
  return std::shared_ptr<PieceRing>(new PieceRing(memory, capacity, std::move(on_free)));
}

char* PieceRing::Reserve(size_t bytes) {
  const size_t end = write_ + bytes;
  std::lock_guard lock(mutex_);
  wanted_ = std::any_of(in_use_.begin(), in_use_.end(), [this, end](const Extent& extent) {
    return extent.begin < end && write_ < extent.end;
  });
  return wanted_ ? nullptr : memory_.get() + write_;
}

PieceRef PieceRing::Take() {
  const size_t begin = std::exchange(taken_, write_);
  const size_t size = write_ - begin;
  if (size == 0) return nullptr;
  {
    std::lock_guard lock(mutex_);
    in_use_.push_back({begin, write_});
  }
  return PieceRef(new Piece{memory_.get() + begin, size, size},
                  [ring = shared_from_this(), begin](Piece* used) {
                    delete used;
                    ring->GiveBack(begin);
                  });
}

void PieceRing::GiveBack(size_t begin) {
  bool tell = false;
  {
    std::lock_guard lock(mutex_);
    std::erase_if(in_use_, [begin](const Extent& extent) { return extent.begin == begin; });
    tell = std::exchange(wanted_, false);
  }
  if (tell && on_free_) on_free_();
}

}  // namespace cais
