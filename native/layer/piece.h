#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

namespace cais {

// A buffer on its way through the layer pipeline: filled by one thread, then only read, by any
// number. Its memory belongs to whoever made it.
struct Piece {
  size_t room() const { return capacity - size; }
  // Where the next byte goes.
  char* end() const { return data + size; }
  std::string_view view() const { return {data, size}; }

  char* data;
  size_t capacity;
  size_t size = 0;
};

// The last holder gives the piece back to its maker (PiecePool, PieceRing).
using PieceRef = std::shared_ptr<Piece>;

// A bounded number of pieces, made when needed and used again. Where there is none left, producers
// wait: this is the back-pressure of the pipeline. Outlives its pieces.
class PiecePool {
 public:
  struct Options {
    size_t piece_bytes;
    size_t max_pieces;
    // Called without locks, on any thread, when HasRoom() has answered false and half of the pieces
    // are free again.
    std::function<void()> on_room;
    // Called likewise when TryAcquire() has answered null and a piece is free.
    std::function<void()> on_free;
  };

  explicit PiecePool(Options options);
  PiecePool(const PiecePool&) = delete;
  PiecePool& operator=(const PiecePool&) = delete;

  // An empty piece; waits for one. Null once stopped.
  PieceRef Acquire();
  // An empty piece, or null: then `on_free` will be called.
  PieceRef TryAcquire();
  // For producers that must not wait (the main thread): beyond the bound when it has to be.
  PieceRef AcquireNow();
  // Whether another piece is free; when not, `on_room` will be called.
  bool HasRoom();
  // Ends all waiting, for ever.
  void Stop();

 private:
  PieceRef Take(std::unique_lock<std::mutex>& lock);
  void GiveBack(char* memory);

  const Options options_;
  std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<std::unique_ptr<char[]>> free_;
  size_t in_use_ = 0;
  bool room_wanted_ = false;
  bool piece_wanted_ = false;
  bool stopped_ = false;
};

// Hands pieces from one stage to one other, in order. Bounded by the pool that the pieces are from.
class PieceQueue {
 public:
  void Push(PieceRef piece);
  // No more pieces.
  void Close();
  // The next piece; null when there is none now. `ended` is set when there will be none again.
  PieceRef TryPop(bool& ended);
  size_t size();
  // Drops what is in it, for ever.
  void Stop();

 private:
  std::mutex mutex_;
  std::deque<PieceRef> pieces_;
  bool closed_ = false;
  bool stopped_ = false;
};

}  // namespace cais
