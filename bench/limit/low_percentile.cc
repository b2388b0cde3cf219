#include "low_percentile.h"

#include <algorithm>

void LowPercentile::Add(double value) {
  const auto last = static_cast<double>(counts_.size() - 1);
  ++counts_[static_cast<size_t>(std::clamp(value, 0.0, last))];
  ++all_;
}

double LowPercentile::Get() const {
  uint64_t below = all_ / 100;
  for (size_t value = 0; value < counts_.size(); ++value) {
    if (counts_[value] > below) return static_cast<double>(value);
    below -= counts_[value];
  }
  return 0;
}
