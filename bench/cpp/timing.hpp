// The timer of the C++ benchmarks: median seconds of one call.
#pragma once
#include <algorithm>
#include <chrono>
#include <vector>

namespace unstuck::bench {

// Median over `repeats` batches of at least 20 ms each, after one such batch as warm-up.
template <class F> double median_seconds(F &&call, int repeats = 9) {
  using Clock = std::chrono::steady_clock;
  const auto time = [&](int calls) {
    const auto start = Clock::now();
    for (int k = 0; k < calls; ++k)
      call();
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  int calls = 1;
  while (time(calls) < 0.02)
    calls *= 2;
  std::vector<double> seconds;
  for (int repeat = 0; repeat < repeats; ++repeat)
    seconds.push_back(time(calls) / calls);
  std::nth_element(seconds.begin(), seconds.begin() + repeats / 2, seconds.end());
  return seconds[static_cast<std::size_t>(repeats / 2)];
}

} // namespace unstuck::bench
