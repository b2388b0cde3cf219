#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "kernel/result.h"
#include "layer/piece.h"
#include "layer/sha256.h"
#include "layer/thread.h"

namespace cais {

class Workers;

// A part of some work that is done in steps, never two at a time: it runs when it has been woken,
// and again until it has nothing to do.
class Stage {
 public:
  enum class Step {
    kMore,  // there may be more to do at once
    kWait,  // nothing to do until somebody calls Wake
    kEnd,   // never anything again
  };
  // Who goes first of all that have something to do. But for the first two kinds that is who was
  // woken first, as if the others had been woken some steps later (kLag). So stages at the end of a
  // row take what comes before the row is full: with a full one everybody waits for the next piece
  // to go through, and most of the time only one core has work.
  enum class Urgency {
    // Before all others. For a stage that all the others wait for: it may keep a core to itself.
    kFirst,
    // A digest that others wait for, or soon would.
    kDueDigest,
    kSoon,
    kLater,
    // For stages whose steps do nothing but call Digest(). They come last, so that there are two of
    // them, of whatever layers, as often as possible: a worker then does both at once.
    kDigest,
    // The same for those with a few pieces only, which can wait until there is another one.
    kRareDigest,
  };
  static constexpr std::array<uint64_t, 6> kLag = {0, 0, 0, 2, 4, 24};

  struct Options {
    Urgency urgency;
    // Does a part of the work that takes about a millisecond, and never waits for other stages.
    std::function<Step()> step;
    // After kEnd, the last thing that happens to the stage: it may be destroyed inside.
    std::function<void()> on_end;
  };

  Stage(Workers& workers, Options options)
      : workers_(workers), options_(std::move(options)), urgency_(options_.urgency) {}
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  // Any thread: there may be something to do.
  void Wake();
  // In a step, which then answers kMore: has `piece` put into `digest` before the next step.
  void Digest(Sha256& digest, PieceRef piece);
  // In a step: of this kind from its end on.
  void SetUrgency(Urgency urgency) { urgency_ = urgency; }

 private:
  friend class Workers;
  //            Wake              a worker takes it          Wake
  //   kIdle ─────────▶ kQueued ───────────────────▶ kRunning ────▶ kRunningAgain
  //     ▲                 ▲       kMore                │                │
  //     │                 └────────────────────────────┤◀── any step ───┘
  //     └───────────────────────────────────── kWait ──┘        (kEnd: kEnded)
  enum class State { kIdle, kQueued, kRunning, kRunningAgain, kEnded };

  // A step, and what becomes of the stage after it. In between, the worker does the digest.
  void BeginStep();
  void EndStep();

  Workers& workers_;
  const Options options_;
  std::atomic<Urgency> urgency_;
  std::atomic<State> state_ = State::kIdle;
  // Between BeginStep and EndStep.
  Step result_ = Step::kWait;
  Sha256* digest_ = nullptr;
  PieceRef digest_piece_;  // null: nothing
};

// The threads that do the work of all layers of a process: one for each core, however many layers
// there are, since more would only take turns. A layer has more stages than a small machine has
// cores; threads of their own would spend an eighth of the time waking each other.
//
// Files that these threads create come with the mode they are created with (PrivateUmask).
// Outlives its stages.
class Workers {
 public:
  Workers() = default;
  // Waits for the threads; no stage may be left.
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  // Starts the threads, unless they run. Fails when not a single one can be started.
  Status Start();

 private:
  friend class Stage;
  void Post(Stage* stage);
  void ThreadMain();
  // Does a step of `stage`, and of another one that fits to it.
  void Run(Stage* stage);
  // The next stage of all, or of this kind; null when there is none. Under mutex_.
  Stage* TakeNext();
  Stage* Take(Stage::Urgency urgency);
  Stage* TakeDigest();

  std::mutex mutex_;
  std::condition_variable posted_;
  struct Posted {
    Stage* stage;
    uint64_t turn;  // the smaller, the sooner
  };

  std::array<std::deque<Posted>, Stage::kLag.size()> queues_;  // by urgency; guarded by mutex_
  size_t queued_ = 0;                                          // guarded by mutex_
  uint64_t posts_ = 0;                                         // guarded by mutex_
  bool stopping_ = false;                                      // guarded by mutex_
  std::vector<Thread> threads_;                                // by Start and the destructor
};

}  // namespace cais
