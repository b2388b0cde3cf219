#include "standstill.h"

#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "file.h"

namespace {

constexpr double kSleepMs = 1;
// Later than this is late.
constexpr double kToleranceMs = 2;

struct Lateness {
  double from_ms;
  double to_ms;
};

double NowMs() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

std::vector<int> Processors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) Fail("sched_getaffinity");
  std::vector<int> processors;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) processors.push_back(i);
  }
  return processors;
}

void StayOn(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) Fail("sched_setaffinity");
  const sched_param priority{.sched_priority = 1};
  if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0) Fail("sched_setscheduler(SCHED_FIFO)");
}

std::vector<Lateness> Watch(int processor, const std::atomic<bool>& is_over) {
  StayOn(processor);
  std::vector<Lateness> late;
  while (!is_over) {
    const double due = NowMs() + kSleepMs;
    const timespec sleep{.tv_sec = 0, .tv_nsec = static_cast<long>(kSleepMs * 1e6)};
    (void)nanosleep(&sleep, nullptr);
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
