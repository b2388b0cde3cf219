#pragma once

#include <cstdint>
#include <string>

#include "kernel/result.h"

namespace cais {

// Bounds the work of mending one chain: implied directories times layers times the depth of paths
// is more than a hostile image may ask for. A step is one name looked up in one layer.
class MendBudget {
 public:
  explicit MendBudget(uint64_t max_steps) : max_steps_(max_steps) {}

  // LIMIT_EXCEEDED once more than `max_steps` have been taken.
  Status Take(uint64_t steps) {
    taken_ += steps;
    if (taken_ <= max_steps_) return Done{};
    return Refuse("LIMIT_EXCEEDED",
                  "The layers of the image need more than " + std::to_string(max_steps_) +
                      " steps to be put together (limit \"maxSteps\"): too many of their "
                      "directories are not listed in their tars");
  }

 private:
  uint64_t max_steps_;
  uint64_t taken_ = 0;
};

}  // namespace cais
