#include "standstill.h"

#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "processors.h"

namespace {

constexpr double kSleepMs = 1;
// Later than this is late.
constexpr double kToleranceMs = 2;

struct Lateness {
  double from_ms;
  double to_ms;
};

std::vector<Lateness> Watch(int processor, const std::atomic<bool>& is_over) {
  StayOn(processor);
  std::vector<Lateness> late;
  while (!is_over) {
    const double due = NowMs() + kSleepMs;
    SleepUntilMs(due);
    if (const double now = NowMs(); now - due > kToleranceMs) late.push_back({due, now});
  }
  return late;
}

}  // namespace

std::string WatchForStandstills() {
  const std::vector<int> processors = Processors();
  std::vector<std::vector<Lateness>> late(processors.size());
  std::atomic<bool> is_over = false;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < processors.size(); ++i) {
    threads.emplace_back([&, i] { late[i] = Watch(processors[i], is_over); });
  }
  char byte = 0;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  is_over = true;
  for (std::thread& thread : threads) thread.join();

  std::string json;
  for (const std::vector<Lateness>& of_one : late) {
    std::string intervals;
    for (const auto& [from_ms, to_ms] : of_one) {
      intervals += (intervals.empty() ? "[" : ",[") + std::to_string(from_ms) + "," +
                   std::to_string(to_ms) + "]";
    }
    json += (json.empty() ? "[" : ",[") + intervals + "]";
  }
  return "\"processors\":[" + json + "]";
}
