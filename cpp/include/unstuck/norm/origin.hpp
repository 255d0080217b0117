// The value about which the moments of a run are summed, so that a large mean costs no digits: the
// middle one of three that lie apart, which one outlier does not carry away.
#pragma once
#include <algorithm>
#include <cstdint>

namespace unstuck::norm {

// Between (or equal to) the other two.
template <class T> double middle(T a, T b, T c) {
  return static_cast<double>(std::max(std::min(a, b), std::min(std::max(a, b), c)));
}

template <class T> double run_origin(std::int64_t length, const T *x) {
  return middle(x[0], x[length / 2], x[length - 1]);
}

} // namespace unstuck::norm
