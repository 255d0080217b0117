// µs per Lanczos step around step j: next and push without the operator's product, after the
// recurrence is checked.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <stdexcept>
#include <vector>

#include "unstuck/krylov/lanczos.hpp"
#include "unstuck/parallel.hpp"

namespace {

using namespace unstuck;
using Clock = std::chrono::steady_clock;

std::vector<double> gaussian(std::int64_t n, unsigned seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> normal;
  std::vector<double> values(static_cast<std::size_t>(n));
  for (double &x : values)
    x = normal(engine);
  return values;
}

// diag(λ) with λ_i = i/n − 0.01: the ends are known.
template <class T> auto diagonal_operator(std::int64_t n) {
  return [n](std::span<const T> v, std::span<T> product) {
    for (std::size_t i = 0; i < v.size(); ++i)
      product[i] = v[i] * (static_cast<T>(i) / static_cast<T>(n) - T(0.01));
  };
}

// Largest |V·Vᵀ − I| of the last vector; the certificate must hold.
template <class T> void check(const Lanczos<T> &state) {
  const auto last = state.basis_vector(state.steps() - 1);
  double worst = 0.0;
  for (std::int64_t i = 0; i + 1 < state.steps(); ++i) {
    const auto v = state.basis_vector(i);
    double dot = 0.0;
    for (std::size_t r = 0; r < v.size(); ++r)
      dot += static_cast<double>(v[r]) * static_cast<double>(last[r]);
    worst = std::max(worst, std::abs(dot));
  }
  const double lower = state.lower_bound(1e-6);
  if (worst > 100.0 * std::numeric_limits<T>::epsilon() || !(lower <= -0.01 + 1e-6))
    throw std::runtime_error("a wrong answer: nothing is timed");
}

// Median over 15 runs of the mean time of the ten steps up to j.
template <class T> double step_seconds(std::int64_t n, std::int64_t j) {
  auto op = diagonal_operator<T>(n);
  std::vector<T> product(static_cast<std::size_t>(n));
  std::vector<double> means;
  for (unsigned run = 0; run < 15; ++run) {
    Lanczos<T> state(n, j, gaussian(n, run));
    double seconds = 0.0;
    iterate(state, op, [&](const Lanczos<T> &s) { return s.steps() == j - 10; }, j);
    while (state.steps() < j) {
      const auto start = Clock::now();
      const auto v = state.next();
      const auto between = Clock::now();
      op(v, product);
      const auto again = Clock::now();
      state.push(std::span<const T>(product));
      seconds += std::chrono::duration<double>((between - start) + (Clock::now() - again)).count();
    }
    if (run == 0)
      check(state);
    means.push_back(seconds / 10.0);
  }
  std::nth_element(means.begin(), means.begin() + 7, means.end());
  return means[7];
}

template <class T> void bench(const char *type, std::int64_t n, std::int64_t j) {
  const double seconds = step_seconds<T>(n, j);
  const double bytes =
      2.0 * sizeof(T) * static_cast<double>(n) * static_cast<double>(j); // two sweeps of the basis
  std::printf("%-8s %9lld %5lld %10.1f %8.1f\n", type, static_cast<long long>(n),
              static_cast<long long>(j), seconds * 1e6, bytes / seconds * 1e-9);
}

// Certificate of both ends at step j.
void bench_certificate(std::int64_t n, std::int64_t j) {
  Lanczos<double> state(n, j, gaussian(n, 1));
  iterate(state, diagonal_operator<double>(n), [](const auto &) { return false; }, j);
  const auto start = Clock::now();
  double sum = 0.0;
  for (int call = 0; call < 200; ++call)
    sum += state.lower_bound(1e-6) + state.upper_bound(1e-6);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count() / 200.0;
  std::printf("certificate of both ends at step %lld: %.1f us (%.3f)\n", static_cast<long long>(j),
              seconds * 1e6, sum);
}

} // namespace

int main() {
  std::printf("threads: %d\n%-8s %9s %5s %10s %8s\n", thread_count(), "type", "n", "step", "us",
              "GB/s");
  for (const std::int64_t n : {9'000, 100'000, 1'000'000})
    for (const std::int64_t j : {20, 50}) {
      bench<float>("float32", n, j);
      bench<double>("float64", n, j);
    }
  bench_certificate(9'000, 50);
  bench_certificate(9'000, 250);
}
