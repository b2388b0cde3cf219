// What a stage costs: seconds by the clock and of this process's CPU time, over the stretches
// between Start and Stop.
#ifndef BENCH_LIMIT_STOPWATCH_H_
#define BENCH_LIMIT_STOPWATCH_H_

#include <time.h>

#include <string>

class Stopwatch {
 public:
  void Start() {
    wall_started_ = Now(CLOCK_MONOTONIC);
    cpu_started_ = Now(CLOCK_PROCESS_CPUTIME_ID);
  }
  void Stop() {
    cpu_seconds_ += Now(CLOCK_PROCESS_CPUTIME_ID) - cpu_started_;
    wall_seconds_ += Now(CLOCK_MONOTONIC) - wall_started_;
  }

  // `"name":{"seconds":1.5,"cpuSeconds":1.4}`
  [[nodiscard]] std::string ToJson(const std::string& name) const {
    return "\"" + name + "\":{\"seconds\":" + std::to_string(wall_seconds_) +
           ",\"cpuSeconds\":" + std::to_string(cpu_seconds_) + "}";
  }

 private:
  static double Now(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
  }

  double wall_started_ = 0;
  double cpu_started_ = 0;
  double wall_seconds_ = 0;
  double cpu_seconds_ = 0;
};

#endif  // BENCH_LIMIT_STOPWATCH_H_
