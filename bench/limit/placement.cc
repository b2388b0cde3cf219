#include "placement.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "file.h"
#include "low_percentile.h"
#include "processors.h"

namespace {

constexpr double kPeriodMs = 10;
// The other thread may be late, for example when its processor does something for the kernel.
constexpr double kPatienceMs = 0.3;
constexpr uint64_t kJourneys = 40;
// About 10 us.
constexpr int kLoops = 10'000;
constexpr double kFarRatio = 2.5;
constexpr double kTogetherRatio = 1.5;
// A while, and how long to wait for it.
constexpr int kSettledLooks = 10;
constexpr int kSettleLooks = 200;
// Before the first answer, to know what is near and quick.
constexpr int kFirstLooks = 100;

// A number that one thread writes and the other waits for. It only grows, so that whoever is late
// disturbs no later look.
struct alignas(128) Mailbox {
  std::atomic<uint64_t> number = 0;

  bool WaitFor(uint64_t wanted, double until_ms) {
    for (int spins = 1; number.load(std::memory_order_acquire) < wanted; ++spins) {
      if (spins % 256 == 0 && NowMs() > until_ms) return false;
    }
    return true;
  }
  void Send(uint64_t sent) { number.store(sent, std::memory_order_release); }
};

// As many additions at a time as a core can do: half as many when another thread has its other
// half. The better of two times, since an interrupt may fall into one.
double LoopNs() {
  double best_ns = std::numeric_limits<double>::max();
  for (int turn = 0; turn < 2; ++turn) {
    uint64_t a = 1, b = 2, c = 3, d = 4, e = 5, f = 6;
    const double begin_ms = NowMs();
    for (int i = 0; i < kLoops; ++i) {
      ++a, ++b, ++c, ++d, ++e, ++f;
      // The compiler must not do them all at once.
      asm volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f));
      ++a, ++b, ++c, ++d, ++e, ++f;
      asm volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f));
    }
    best_ns = std::min(best_ns, (NowMs() - begin_ms) * 1e6);
  }
  return best_ns;
}

struct Look {
  double journey_ns;
  double loop_ns;  // of the quicker one
};

class Looks {
 public:
  explicit Looks(const std::vector<int>& processors) : processors_(processors) {}

  // Looks until `on_look` answers false; it gets none where a look failed.
  void Run(const std::function<bool(const std::optional<Look>&)>& on_look) {
    const double begin_ms = NowMs();
    const uint64_t first = look_ + 1;
    const auto due_ms = [=](uint64_t look) {
      return begin_ms + static_cast<double>(look - first) * kPeriodMs;
    };
    std::atomic<bool> is_over = false;
    std::thread partner([&] {
      StayOn(processors_[1]);
      for (uint64_t look = first; !is_over; ++look) {
        SleepUntilMs(due_ms(look));
        Answer(look);
      }
    });
    std::thread leader([&] {
      StayOn(processors_[0]);
      do {
        ++look_;
        SleepUntilMs(due_ms(look_));
      } while (on_look(Ask(look_)));
      is_over = true;
    });
    leader.join();
    partner.join();
    // The partner may have begun one that nobody led.
    ++look_;
  }

 private:
  static uint64_t NumberOf(uint64_t look, uint64_t journey) {
    return look * (kJourneys + 2) + journey;
  }

  std::optional<Look> Ask(uint64_t look) {
    const double until_ms = NowMs() + kPatienceMs;
    double begin_ms = 0;
    for (uint64_t journey = 0; journey <= kJourneys; ++journey) {
      // The first one waits for the partner to come.
      if (journey == 1) begin_ms = NowMs();
      there_.Send(NumberOf(look, journey));
      if (!back_.WaitFor(NumberOf(look, journey), until_ms)) return {};
    }
    const double journey_ns = (NowMs() - begin_ms) * 1e6 / static_cast<double>(kJourneys);
    const double loop_ns = LoopNs();
    if (!back_.WaitFor(NumberOf(look, kJourneys + 1), until_ms)) return {};
    return Look{journey_ns, std::min(loop_ns, partner_loop_ns_)};
  }

  void Answer(uint64_t look) {
    const double until_ms = NowMs() + kPatienceMs;
    for (uint64_t journey = 0; journey <= kJourneys; ++journey) {
      if (!there_.WaitFor(NumberOf(look, journey), until_ms)) return;
      back_.Send(NumberOf(look, journey));
    }
    partner_loop_ns_ = LoopNs();
    back_.Send(NumberOf(look, kJourneys + 1));
  }

  const std::vector<int> processors_;
  uint64_t look_ = 0;
  Mailbox there_;
  Mailbox back_;
  double partner_loop_ns_ = 0;  // before the last answer of a look
};

class Watch {
 public:
  explicit Watch(const std::vector<int>& processors) : looks_(processors) {
    int looks = 0;
    looks_.Run([&](const std::optional<Look>& look) {
      Count(look);
      return ++looks < kFirstLooks;
    });
  }
  ~Watch() { (void)Stop(); }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  std::string Settle() {
    (void)Stop();
    int looks = 0;
    int settled = 0;
    looks_.Run([&](const std::optional<Look>& look) {
      const int odd = far_ + together_;
      Count(look);
      settled = look && far_ + together_ == odd ? settled + 1 : 0;
      return ++looks < kSettleLooks && settled < kSettledLooks;
    });
    return std::string("{\"settled\":") + (settled == kSettledLooks ? "true" : "false") + "}";
  }

  std::string Begin() {
    (void)Stop();
    seen_ = far_ = together_ = 0;
    is_over_ = false;
    thread_ = std::thread([this] {
      looks_.Run([this](const std::optional<Look>& look) {
        if (is_over_) return false;
        Count(look);
        return true;
      });
    });
    return "{}";
  }

  std::string Stop() {
    is_over_ = true;
    if (thread_.joinable()) thread_.join();
    return "{\"looks\":" + std::to_string(seen_) + ",\"far\":" + std::to_string(far_) +
           ",\"together\":" + std::to_string(together_) +
           ",\"nearestNs\":" + std::to_string(journeys_.Get()) + "}";
  }

 private:
  void Count(const std::optional<Look>& look) {
    if (!look) return;
    ++seen_;
    quickest_ns_ = std::min(quickest_ns_, look->loop_ns);
    if (look->loop_ns > kTogetherRatio * quickest_ns_) {
      ++together_;
      return;
    }
    // On one core the journey is shorter than any between two. A look in whose midst the host moves
    // them may have such a journey, too, and not be seen as one on one core.
    journeys_.Add(look->journey_ns);
    if (look->journey_ns > kFarRatio * journeys_.Get()) ++far_;
  }

  Looks looks_;
  double quickest_ns_ = std::numeric_limits<double>::max();
  LowPercentile journeys_;  // in ns, of all looks but those on one core
  int seen_ = 0;
  int far_ = 0;
  int together_ = 0;
  std::atomic<bool> is_over_ = true;
  std::thread thread_;
};

std::string Obey(Watch& watch, const std::string& line) {
  if (line == "settle") return watch.Settle();
  if (line == "watch") return watch.Begin();
  if (line == "stop") return watch.Stop();
  errno = 0;
  Fail("placement: cannot understand \"" + line + "\"");
}

}  // namespace

void WatchPlacement() {
  const std::vector<int> processors = Processors();
  if (processors.size() != 2) {
    errno = 0;
    Fail("placement: it can be seen of two processors only, and there are " +
         std::to_string(processors.size()));
  }
  Watch watch(processors);
  std::string line;
  for (int c = std::getchar(); c != EOF; c = std::getchar()) {
    if (c != '\n') {
      line.push_back(static_cast<char>(c));
      continue;
    }
    std::puts(Obey(watch, line).c_str());
    std::fflush(stdout);
    line.clear();
  }
}
