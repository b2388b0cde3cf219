#ifndef BENCH_LIMIT_LOW_PERCENTILE_H_
#define BENCH_LIMIT_LOW_PERCENTILE_H_

#include <array>
#include <cstddef>
#include <cstdint>

// The value that one in a hundred of all values so far lies below; of less than a hundred, the
// least. Unlike the least of all, it forgets a single value that was wrong.
class LowPercentile {
 public:
  // Not below zero. Kept as a whole number, and those from 4095 on as that.
  void Add(double value);
  // Zero when there is none.
  double Get() const;

 private:
  std::array<uint64_t, 4096> counts_{};
  uint64_t all_ = 0;
};

#endif  // BENCH_LIMIT_LOW_PERCENTILE_H_
