// Lock-step Lanczos recurrences of several probes, and the quadrature rules of their measures.
#include "unstuck/krylov/quadrature.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "unstuck/error.hpp"
#include "unstuck/parallel.hpp"

namespace unstuck {
namespace {

constexpr std::int64_t kRows = 8192; // elements per block of a reduction
// the coupling of an appended node, relative to it: beyond this it splits off anyway
constexpr double kFarthest = 1e15;

template <class T> std::span<const T> row(std::span<const T> rows, std::int64_t n, std::int64_t i) {
  return rows.subspan(static_cast<std::size_t>(i * n), static_cast<std::size_t>(n));
}

template <class T> double dot(const T *a, const T *b, std::int64_t n) {
  return parallel_sum(n, kRows, n / 2, [&](std::int64_t begin, std::int64_t end) {
    double lanes[8] = {};
    std::int64_t i = begin;
    for (; i + 8 <= end; i += 8)
      for (std::int64_t l = 0; l < 8; ++l)
        lanes[l] += static_cast<double>(a[i + l]) * static_cast<double>(b[i + l]);
    double sum = 0.0;
    for (; i < end; ++i)
      sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    return sum + std::accumulate(lanes, lanes + 8, 0.0);
  });
}

} // namespace

template <class T>
ProbeLanczos<T>::ProbeLanczos(std::int64_t n, std::int64_t probes, std::span<const T> starts)
    : n_(n), v_(starts.begin(), starts.end()), runs_(static_cast<std::size_t>(probes)) {
  require(n >= 1 && probes >= 1, "`starts` must have at least one row and one column");
  for (std::int64_t p = 0; p < probes; ++p) {
    T *v = v_.data() + p * n;
    const double length = std::sqrt(dot(v, v, n));
    require(length > 0.0 && std::isfinite(length), "row ", p,
            " of `starts` must be finite and not zero");
    for (std::int64_t i = 0; i < n; ++i)
      v[i] = static_cast<T>(static_cast<double>(v[i]) / length);
  }
  previous_.assign(v_.size(), T(0));
}

template <class T> bool ProbeLanczos<T>::exhausted() const {
  return std::ranges::all_of(runs_, [](const Run &run) { return run.exhausted; });
}

template <class T> std::span<const double> ProbeLanczos<T>::alpha(std::int64_t probe) const {
  require(probe >= 0 && probe < probes(), "`probe` must be in [0, ", probes(), "), got ", probe);
  return runs_[static_cast<std::size_t>(probe)].alpha;
}

template <class T> std::span<const double> ProbeLanczos<T>::beta(std::int64_t probe) const {
  require(probe >= 0 && probe < probes(), "`probe` must be in [0, ", probes(), "), got ", probe);
  return runs_[static_cast<std::size_t>(probe)].beta;
}

template <class T>
auto ProbeLanczos<T>::inner(std::int64_t probe, std::span<const T> w) const -> Inner {
  const T *v = v_.data() + probe * n_, *previous = previous_.data() + probe * n_;
  return {dot(v, w.data(), n_), dot(previous, w.data(), n_), dot(w.data(), w.data(), n_)};
}

template <class T> void ProbeLanczos<T>::push(std::span<const T> w) {
  require(w.size() == v_.size(), "`w` must hold ", v_.size(), " numbers, got ", w.size());
  std::vector<Inner> inners;
  for (std::int64_t p = 0; p < probes(); ++p) {
    inners.push_back(inner(p, row(w, n_, p)));
    require(std::isfinite(inners.back().square), "`w` must be finite, and its squares too");
  }
  ++steps_;
  for (std::int64_t p = 0; p < probes(); ++p)
    if (!runs_[static_cast<std::size_t>(p)].exhausted)
      advance(p, row(w, n_, p), inners[static_cast<std::size_t>(p)]);
}

// r = w − α·v − β·v₋₁; v₋₁ ← v; v ← r/‖r‖
template <class T>
void ProbeLanczos<T>::advance(std::int64_t probe, std::span<const T> w, const Inner &inner) {
  Run &run = runs_[static_cast<std::size_t>(probe)];
  T *v = v_.data() + probe * n_, *previous = previous_.data() + probe * n_;
  const double beta = run.beta.empty() ? 0.0 : run.beta.back();
  largest_product_ = std::max(largest_product_, std::sqrt(inner.square));
  if (!run.beta.empty())
    asymmetry_ = std::max(asymmetry_, std::abs(inner.with_previous - beta));
  const double alpha = inner.with_v;
  const double square = parallel_sum(n_, kRows, n_, [&](std::int64_t begin, std::int64_t end) {
    double sum = 0.0;
    for (std::int64_t i = begin; i < end; ++i) {
      const double r = static_cast<double>(w[static_cast<std::size_t>(i)]) -
                       alpha * static_cast<double>(v[i]) - beta * static_cast<double>(previous[i]);
      sum += r * r;
    }
    return sum;
  });
  const double residual = std::sqrt(square);
  run.alpha.push_back(alpha);
  run.exhausted =
      residual <= 10.0 * static_cast<double>(std::numeric_limits<T>::epsilon()) * largest_product_;
  run.beta.push_back(run.exhausted ? 0.0 : residual);
  const double scale = run.exhausted ? 0.0 : 1.0 / residual;
  parallel_ranges(n_, kRows, n_, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const double r = static_cast<double>(w[static_cast<std::size_t>(i)]) -
                       alpha * static_cast<double>(v[i]) - beta * static_cast<double>(previous[i]);
      previous[i] = v[i];
      v[i] = static_cast<T>(r * scale);
    }
  });
}

template class ProbeLanczos<float>;
template class ProbeLanczos<double>;

GaussRule gauss(const Tridiagonal &t) {
  const std::int64_t first = 0;
  auto found = eigen(t, std::span(&first, t.size() > 0 ? 1 : 0));
  for (double &component : found.components)
    component *= component;
  return {std::move(found.values), std::move(found.components)};
}

GaussRule gauss_radau(const Tridiagonal &t, double x) {
  const std::size_t k = t.diagonal.size();
  require(k >= 1 && t.coupling.size() >= k, "`coupling` must have at least ", k,
          " entries, one per step, got ", t.coupling.size());
  require(std::isfinite(x), "`x` must be finite, got ", x);
  // everything relative to the scale of T: pivots and couplings are then at most of order 1
  const int exponent = scale_exponent(t);
  const double scale = std::ldexp(1.0, -exponent);
  const double last = t.coupling[k - 1] * scale;
  if (last == 0.0)
    return gauss(t);
  double pivot = 1.0, squared = 0.0;
  for (std::size_t j = 0; j < k; ++j) {
    pivot = (t.diagonal[j] - x) * scale - squared / pivot;
    if (std::abs(pivot) < 1e-290)
      pivot = 1e-290; // as count_below: an eigenvalue equal to x is not below x
    squared = std::pow(t.coupling[j] * scale, 2);
  }
  // α = x + β_k²·e_kᵀ(T − xI)⁻¹e_k: the last pivot of the larger matrix minus xI is 0
  const double appended = std::clamp(last * last / pivot, -kFarthest, kFarthest);
  std::vector<double> diagonal(t.diagonal.begin(), t.diagonal.end());
  diagonal.push_back(x + std::ldexp(appended, exponent));
  return gauss({diagonal, t.coupling.first(k)});
}

Bounds chebyshev_markov(const Tridiagonal &t, double x) {
  require(!std::isnan(x), "`x` must be a number, got NaN");
  if (std::isinf(x))
    return x > 0 ? Bounds{1.0, 1.0} : Bounds{0.0, 0.0};
  const std::size_t k = t.diagonal.size();
  require(k >= 1 && t.coupling.size() >= k, "`coupling` must have at least ", k,
          " entries, one per step, got ", t.coupling.size());
  const GaussRule rule = gauss_radau(t, x);
  if (rule.nodes.size() == k) { // the measure itself
    const double slack = 8.0 * std::numeric_limits<double>::epsilon() *
                         std::ldexp(1.0, scale_exponent(t)) * std::sqrt(static_cast<double>(k));
    double lower = 0.0, upper = 0.0;
    for (std::size_t j = 0; j < k; ++j) {
      lower += rule.nodes[j] < x - slack ? rule.weights[j] : 0.0;
      upper += rule.nodes[j] <= x + slack ? rule.weights[j] : 0.0;
    }
    return {std::min(lower, 1.0), std::min(upper, 1.0)};
  }
  // Sylvester: as many nodes lie below x as T − xI has negative pivots; the next one is x
  const auto below = static_cast<std::ptrdiff_t>(count_below({t.diagonal, t.coupling}, x));
  const double lower = std::accumulate(rule.weights.begin(), rule.weights.begin() + below, 0.0);
  const double upper = lower + rule.weights[static_cast<std::size_t>(below)];
  return {std::clamp(lower, 0.0, 1.0), std::clamp(upper, 0.0, 1.0)};
}

} // namespace unstuck
