#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "layer/piece.h"

namespace cais {

// Memory for a producer that looks back at what it has written (the window of a decompressor):
// written in one row from its beginning to its end, then from the beginning again, and handed out
// as pieces in that order. So what a stream refers to is where it was written, and nobody copies.
//
//   0         write                                      capacity
//   ├───────────┼─────────┬─────────┬─────────┬──────────────┤
//   │ newer     │ not used│ piece   │ piece   │ older, given │
//   │           │ any more│ in use  │ in use  │ back         │
//
// The producer is one thread. Pieces keep the ring alive.
class PieceRing : public std::enable_shared_from_this<PieceRing> {
 public:
  // `on_free` is called without locks, on any thread, when Reserve() has answered null and a piece
  // was given back. Null: no memory.
  static std::shared_ptr<PieceRing> Make(size_t capacity, std::function<void()> on_free);
  PieceRing(const PieceRing&) = delete;
  PieceRing& operator=(const PieceRing&) = delete;

  size_t capacity() const { return capacity_; }
  // Bytes that were written and not taken.
  size_t pending() const { return write_ - taken_; }
  // Where the next byte goes.
  const char* end() const { return memory_.get() + write_; }
  // Whether `bytes` bytes fit behind what was written last.
  bool Fits(size_t bytes) const { return write_ + bytes <= capacity_; }
  // Goes on at the beginning. Nothing is pending.
  void Turn() { taken_ = write_ = 0; }

  // Room for `bytes` bytes, which fit. Null: a piece that is still in use lies there.
  char* Reserve(size_t bytes);
  // So many bytes were written where Reserve() said.
  void Advance(size_t bytes) { write_ += bytes; }
  // What is pending, as a piece; null when there is nothing.
  PieceRef Take();

 private:
  struct Extent {
    size_t begin;
    size_t end;
  };
  struct Free {
    void operator()(char* memory) const;
  };

  PieceRing(char* memory, size_t capacity, std::function<void()> on_free)
      : memory_(memory), capacity_(capacity), on_free_(std::move(on_free)) {}
  void GiveBack(size_t begin);

  const std::unique_ptr<char, Free> memory_;
  const size_t capacity_;
  const std::function<void()> on_free_;
  size_t taken_ = 0;
  size_t write_ = 0;

  std::mutex mutex_;
  std::vector<Extent> in_use_;  // few; guarded by mutex_
  bool wanted_ = false;         // guarded by mutex_
};

}  // namespace cais
