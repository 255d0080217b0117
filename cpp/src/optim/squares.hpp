// Sums of squares in double with eight lanes: one order of addition on every CPU level.
#pragma once
#include <cstdint>

namespace unstuck::optim {

struct SquareSum {
  double lane[8] = {};

  // Every call starts at the first lane.
  template <class T> void add(const T *x, std::int64_t count) {
    std::int64_t i = 0;
    for (; i + 8 <= count; i += 8)
      for (int j = 0; j < 8; ++j) {
        const auto value = static_cast<double>(x[i + j]);
        lane[j] += value * value;
      }
    for (int j = 0; i < count; ++i, ++j) {
      const auto value = static_cast<double>(x[i]);
      lane[j] += value * value;
    }
  }

  // Σ(x − y)²
  template <class T> void add_difference(const T *x, const T *y, std::int64_t count) {
    std::int64_t i = 0;
    for (; i + 8 <= count; i += 8)
      for (int j = 0; j < 8; ++j) {
        const auto value = static_cast<double>(x[i + j]) - static_cast<double>(y[i + j]);
        lane[j] += value * value;
      }
    for (int j = 0; i < count; ++i, ++j) {
      const auto value = static_cast<double>(x[i]) - static_cast<double>(y[i]);
      lane[j] += value * value;
    }
  }

  double value() const {
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
           ((lane[4] + lane[5]) + (lane[6] + lane[7]));
  }
};

} // namespace unstuck::optim
