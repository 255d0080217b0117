// Sums of squares in double with sixteen lanes: one order of addition on every CPU level.
#pragma once
#include <cstdint>

namespace unstuck::optim {

struct SquareSum {
  static constexpr int kLanes = 16; // enough to hide the latency of an addition
  double lane[kLanes] = {};

  // Every call starts at the first lane.
  template <class T> void add(const T *x, std::int64_t count) {
    std::int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes)
      for (int j = 0; j < kLanes; ++j) {
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
    for (; i + kLanes <= count; i += kLanes)
      for (int j = 0; j < kLanes; ++j) {
        const auto value = static_cast<double>(x[i + j]) - static_cast<double>(y[i + j]);
        lane[j] += value * value;
      }
    for (int j = 0; i < count; ++i, ++j) {
      const auto value = static_cast<double>(x[i]) - static_cast<double>(y[i]);
      lane[j] += value * value;
    }
  }

  double value() const {
    double half[kLanes / 2];
    for (int j = 0; j < kLanes / 2; ++j)
      half[j] = lane[2 * j] + lane[2 * j + 1];
    return ((half[0] + half[1]) + (half[2] + half[3])) +
           ((half[4] + half[5]) + (half[6] + half[7]));
  }
};

} // namespace unstuck::optim
