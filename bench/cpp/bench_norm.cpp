// Batch normalisation forward, with ReLU, and backward, beside the rate at which this machine
// copies.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "timing.hpp"
#include "unstuck/norm/batch_norm.hpp"
#include "unstuck/parallel.hpp"

namespace {

using namespace unstuck;
using bench::median_seconds;

std::vector<float> normal(std::int64_t n) {
  std::mt19937 generator(1);
  std::normal_distribution<float> draw;
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float &value : values)
    value = draw(generator);
  return values;
}

void report(const char *what, double seconds, std::int64_t bytes) {
  std::printf("  %-22s %10.1f us %8.1f GB/s\n", what, seconds * 1e6,
              static_cast<double>(bytes) / seconds * 1e-9);
}

void bench_shape(norm::Shape shape) {
  const std::int64_t n = shape.size(), bytes = n * static_cast<std::int64_t>(sizeof(float));
  const auto x = normal(n), d_y = normal(n), gamma = normal(shape.channels),
             beta = normal(shape.channels);
  std::vector<float> y(x.size()), d_x(x.size()), d_gamma(gamma.size()), d_beta(gamma.size());
  std::vector<double> mean(gamma.size()), variance(gamma.size()), r(gamma.size());
  std::printf("(%lld, %lld, %lld)\n", static_cast<long long>(shape.samples),
              static_cast<long long>(shape.channels), static_cast<long long>(shape.spatial));
  report("copy", median_seconds([&] {
           parallel_ranges(n, 65'536, n, [&](std::int64_t begin, std::int64_t end) {
             std::copy(x.begin() + begin, x.begin() + end, y.begin() + begin);
           });
         }),
         2 * bytes);
  const auto forward = [&](bool relu) {
    norm::batch_norm_forward<float>(shape, 1e-5, x.data(),
                                    {gamma.data(), beta.data(), nullptr, relu}, mean.data(),
                                    variance.data(), r.data(), y.data());
  };
  report("forward", median_seconds([&] { forward(false); }), 3 * bytes);
  report("forward and ReLU", median_seconds([&] { forward(true); }), 3 * bytes);
  report("backward", median_seconds([&] {
           norm::batch_norm_backward<float>(shape, d_y.data(), x.data(), nullptr, mean.data(),
                                            r.data(), gamma.data(), true,
                                            {d_x.data(), d_gamma.data(), d_beta.data(), nullptr});
         }),
         5 * bytes);
}

} // namespace

int main() {
  std::printf("%d threads\n", thread_count());
  bench_shape({64, 64, 56 * 56});
  bench_shape({65'536, 512, 1});
  return 0;
}
