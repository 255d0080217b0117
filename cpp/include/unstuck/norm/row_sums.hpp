// Σ over a run of elements, in double and in 16 interleaved sums: an order that the length fixes.
#pragma once
#include <array>
#include <cstdint>

namespace unstuck::norm {

template <std::size_t sums, class Value>
std::array<double, sums> row_sums(std::int64_t length, Value &&value) {
  constexpr std::int64_t lanes = 16;
  double lane[sums][lanes] = {};
  const auto take = [&](std::int64_t i, std::int64_t width) {
    for (std::int64_t j = 0; j < width; ++j) {
      const std::array<double, sums> v = value(i + j);
      for (std::size_t s = 0; s < sums; ++s)
        lane[s][j] += v[s];
    }
  };
  std::int64_t i = 0;
  for (; i + lanes <= length; i += lanes)
    take(i, lanes);
  take(i, length - i);
  std::array<double, sums> total{};
  for (std::size_t s = 0; s < sums; ++s)
    for (const double x : lane[s])
      total[s] += x;
  return total;
}

} // namespace unstuck::norm
