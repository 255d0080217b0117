// The three-term recurrence: two stored vectors and the product that comes in.
#include "unstuck/krylov/three_term.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "unstuck/error.hpp"
#include "unstuck/parallel.hpp"

namespace unstuck {
namespace {

constexpr std::int64_t kGrain = 1 << 14;

// Σ f(i) in float64
template <class F> double sum_of(std::int64_t n, F &&f) {
  return parallel_sum(n, kGrain, n, [&](std::int64_t begin, std::int64_t end) {
    double sum = 0.0;
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
      sum += f(i);
    return sum;
  });
}

template <class T> double norm_of(std::span<const T> w, double factor) {
  return std::sqrt(sum_of(static_cast<std::int64_t>(w.size()), [&](std::size_t i) {
    const double x = static_cast<double>(w[i]) * factor;
    return x * x;
  }));
}

struct Size {
  int exponent;
  double norm; // of w·2^-exponent, whose squares neither over- nor underflow
};

template <class T> Size size_of(std::span<const T> w, const char *name) {
  constexpr double most = sizeof(T) == 4 ? 1e15 : 1e140; // residuals are stored as T
  const double length = norm_of(w, 1.0);
  if (length >= 1.0 / most && length <= most)
    return {0, length};
  double largest = 0.0;
  for (const T x : w)
    largest = std::max(largest, std::abs(static_cast<double>(x)));
  require(!std::isnan(length) && std::isfinite(largest), "`", name,
          "` must be finite, but it holds NaN or infinity");
  int exponent = 0;
  if (largest > 0.0)
    std::frexp(largest, &exponent);
  return {exponent, norm_of(w, std::ldexp(1.0, -exponent))};
}

} // namespace

template <class T> ThreeTermLanczos<T>::ThreeTermLanczos(std::int64_t n, std::span<const T> start) {
  require(n >= 1 && static_cast<std::int64_t>(start.size()) == n,
          "`start` must have `n` ≥ 1 entries, got ", start.size(), " for n = ", n);
  const Size size = size_of(start, "start");
  require(size.norm > 0.0, "`start` must not be zero");
  current_.assign(start.begin(), start.end());
  previous_.assign(start.size(), T{0});
  scale(std::ldexp(1.0, -size.exponent));
  residual_norm_ = size.norm;
}

template <class T> void ThreeTermLanczos<T>::scale(double factor) {
  parallel_ranges(n(), kGrain, n(), [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
      current_[i] = static_cast<T>(current_[i] * factor);
  });
}

template <class T> std::span<const T> ThreeTermLanczos<T>::next() {
  if (!pending_) {
    require(!exhausted_, "the Krylov space is exhausted after ", steps(),
            " steps: nothing but rounding is left to continue from");
    const auto most = static_cast<std::size_t>(steps() / 64 + 1) * 64;
    alpha_.reserve(most);
    beta_.reserve(most);
    scale(1.0 / residual_norm_);
    pending_ = true;
  }
  return current_;
}

template <class T> void ThreeTermLanczos<T>::push(std::span<const T> w) {
  require(static_cast<std::int64_t>(w.size()) == n(), "`w` must have ", n(), " entries, got ",
          w.size());
  require(pending_, "call `next` before `push`: there is no vector whose product is awaited");
  const auto [exponent, size] = size_of(w, "w");
  const double factor = std::ldexp(1.0, -exponent);
  const auto product = [&](std::size_t i) { return static_cast<double>(w[i]) * factor; };
  require(std::isfinite(std::ldexp(size, exponent)),
          "`w` is too large: its norm overflows float64");
  const double beta = beta_.empty() ? 0.0 : beta_.back() * factor;
  // α from w − β·v_{j−1}: C. Paige, J. Inst. Math. Appl. 18 (1976), 341–349
  const double alpha = sum_of(n(), [&](std::size_t i) {
    return (product(i) - beta * static_cast<double>(previous_[i])) *
           static_cast<double>(current_[i]);
  });
  parallel_ranges(n(), kGrain, n(), [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
      previous_[i] = static_cast<T>(product(i) - beta * static_cast<double>(previous_[i]) -
                                    alpha * static_cast<double>(current_[i]));
  });
  std::swap(previous_, current_);
  residual_norm_ = norm_of(std::span<const T>(current_), 1.0);
  const double residual = std::ldexp(residual_norm_, exponent);
  largest_product_ = std::max(largest_product_, std::ldexp(size, exponent));
  const double rounding = 0.5 * std::numeric_limits<T>::epsilon() * largest_product_;
  exhausted_ = residual <= 0.1 * rounding || steps() + 1 == n();
  alpha_.push_back(std::ldexp(alpha, exponent));
  beta_.push_back(std::max(residual, rounding));
  pending_ = false;
}

template class ThreeTermLanczos<float>;
template class ThreeTermLanczos<double>;

} // namespace unstuck
