#include "processors.h"

#include <sched.h>
#include <time.h>

#include "file.h"

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

double NowMs() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

void SleepUntilMs(double ms) {
  const auto seconds = static_cast<time_t>(ms / 1e3);
  const timespec until{
      .tv_sec = seconds,
      .tv_nsec = static_cast<long>((ms - static_cast<double>(seconds) * 1e3) * 1e6)};
  (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
}
