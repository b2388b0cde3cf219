#include "layer/workers.h"

#include <unistd.h>

#include <algorithm>
#include <limits>
#include <thread>
#include <utility>

#include "layer/private_umask.h"

namespace cais {
namespace {

// More cores than this find nothing to do: one layer has six stages, an image a few layers at
// once.
constexpr size_t kMaxThreads = 8;

// Below what else the process does, its event loop above all, which then never waits for the end of
// a turn of theirs. They have the same share of the cores as long as nobody else wants one.
constexpr int kNiceness = 10;

}  // namespace

void Stage::Wake() {
  State state = state_.load(std::memory_order_relaxed);
  for (;;) {
    switch (state) {
      case State::kIdle:
        if (state_.compare_exchange_weak(state, State::kQueued)) return workers_.Post(this);
        break;
      case State::kRunning:
        if (state_.compare_exchange_weak(state, State::kRunningAgain)) return;
        break;
      default:
        return;
    }
  }
}

void Stage::Digest(Sha256& digest, PieceRef piece) {
  digest_ = &digest;
  digest_piece_ = std::move(piece);
}

void Stage::BeginStep() {
  state_.store(State::kRunning);
  result_ = options_.step();
}

void Stage::EndStep() {
  digest_piece_.reset();
  switch (result_) {
    case Step::kEnd: {
      state_.store(State::kEnded);
      // A copy, since it may destroy this object.
      const std::function<void()> on_end = options_.on_end;
      return on_end();
    }
    case Step::kWait: {
      State expected = State::kRunning;
      if (state_.compare_exchange_strong(expected, State::kIdle)) return;
      break;
    }
    case Step::kMore:
      break;
  }
  state_.store(State::kQueued);
  workers_.Post(this);
}

Workers::~Workers() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  posted_.notify_all();
  threads_.clear();
}

Status Workers::Start() {
  if (!threads_.empty()) return Done{};
  const size_t cores = std::max<size_t>(std::thread::hardware_concurrency(), 1);
  for (size_t i = 0; i < std::min(cores, kMaxThreads); ++i) {
    Result<Thread> thread = Thread::Start("cais-layer", [this] { ThreadMain(); });
    if (thread.ok()) {
      threads_.push_back(std::move(thread.value()));
    } else if (threads_.empty()) {
      return std::move(thread.failure());
    }
  }
  return Done{};
}

void Workers::Post(Stage* stage) {
  {
    std::lock_guard lock(mutex_);
    const auto kind = static_cast<size_t>(stage->urgency_.load());
    queues_[kind].push_back({stage, ++posts_ + Stage::kLag[kind]});
    ++queued_;
  }
  posted_.notify_one();
}

Stage* Workers::Take(Stage::Urgency urgency) {
  std::deque<Posted>& queue = queues_[static_cast<size_t>(urgency)];
  if (queue.empty()) return nullptr;
  Stage* const stage = queue.front().stage;
  queue.pop_front();
  --queued_;
  return stage;
}

Stage* Workers::TakeDigest() {
  using enum Stage::Urgency;
  for (const Stage::Urgency kind : {kRareDigest, kDueDigest, kDigest}) {
    if (Stage* const stage = Take(kind); stage != nullptr) return stage;
  }
  return nullptr;
}

Stage* Workers::TakeNext() {
  for (const Stage::Urgency kind : {Stage::Urgency::kFirst, Stage::Urgency::kDueDigest}) {
    if (Stage* const stage = Take(kind); stage != nullptr) return stage;
  }
  const auto turn = [](const std::deque<Posted>& queue) {
    return queue.empty() ? std::numeric_limits<uint64_t>::max() : queue.front().turn;
  };
  const auto soonest = std::min_element(
      queues_.begin(), queues_.end(),
      [turn](const auto& one, const auto& other) { return turn(one) < turn(other); });
  return Take(static_cast<Stage::Urgency>(soonest - queues_.begin()));
}

void Workers::ThreadMain() {
  const PrivateUmask umask;
  // Of this thread only: setpriority(2), C library/kernel differences.
  (void)nice(kNiceness);
  std::unique_lock lock(mutex_);
  for (;;) {
    posted_.wait(lock, [this] { return stopping_ || queued_ > 0; });
    if (queued_ == 0) return;
    Stage* const stage = TakeNext();
    lock.unlock();
    Run(stage);
    lock.lock();
  }
}

void Workers::Run(Stage* stage) {
  stage->BeginStep();
  Stage* other = nullptr;
  if (stage->digest_piece_ != nullptr) {
    {
      std::lock_guard lock(mutex_);
      other = TakeDigest();
    }
    if (other != nullptr) other->BeginStep();
    if (other != nullptr && other->digest_piece_ != nullptr) {
      Sha256::UpdateBoth(*stage->digest_, stage->digest_piece_->view(), *other->digest_,
                         other->digest_piece_->view());
    } else {
      stage->digest_->Update(stage->digest_piece_->view());
    }
  }
  stage->EndStep();
  if (other != nullptr) other->EndStep();
}

}  // namespace cais
