// The Lanczos recurrence as a state machine: start, product, orthogonalisation, breakdown, restart,
// Ritz pairs.
#include "unstuck/krylov/lanczos.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "unstuck/error.hpp"
#include "unstuck/parallel.hpp"

namespace unstuck {
namespace {

// Norms within this range are squared without overflow and without losing digits to underflow.
constexpr double kSmallestNorm = 1e-140, kLargestNorm = 1e140;
constexpr std::int64_t kGrain = 1 << 14;

double largest_magnitude(std::span<const double> w) {
  double largest = 0.0;
  for (const double x : w)
    largest = std::max(largest, std::abs(x));
  return largest;
}

template <class From> void copy(std::span<const From> from, std::vector<double> &to) {
  const auto n = static_cast<std::int64_t>(from.size());
  parallel_ranges(n, kGrain, n, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
      to[i] = static_cast<double>(from[i]);
  });
}

// Scales w by 2^-e so that its norm can be squared; returns e and the norm of the scaled vector.
std::pair<int, double> bring_into_range(std::vector<double> &w, const char *name) {
  double length = norm(w);
  if (length >= kSmallestNorm && length <= kLargestNorm)
    return {0, length};
  const double largest = largest_magnitude(w);
  require(!std::isnan(length) && std::isfinite(largest), "`", name,
          "` must be finite, but it holds NaN or infinity");
  int exponent = 0;
  if (largest > 0.0) {
    std::frexp(largest, &exponent);
    for (double &x : w)
      x = std::ldexp(x, -exponent);
    length = norm(w);
  }
  return {exponent, length};
}

} // namespace

template <class T>
Lanczos<T>::Lanczos(std::int64_t n, std::int64_t capacity, std::span<const double> start,
                    std::span<const double> locked)
    : basis_((require(n >= 1, "`n` must be at least 1, got ", n), n),
             (require(capacity >= 1, "`capacity` must be at least 1, got ", capacity),
              capacity + static_cast<std::int64_t>(locked.size()) / n)),
      locked_(static_cast<std::int64_t>(locked.size()) / n), projection_(n - locked_),
      residual_(static_cast<std::size_t>(n)) {
  require(locked.size() % static_cast<std::size_t>(n) == 0, "`locked` must hold whole rows of ", n,
          " numbers");
  require(locked_ < n, "`locked` holds ", locked_,
          " vectors, which leaves nothing of a space of dimension ", n);
  for (std::int64_t q = 0; q < locked_; ++q) {
    set_residual(locked.subspan(static_cast<std::size_t>(q * n), static_cast<std::size_t>(n)),
                 "locked");
    basis_.append(residual_, 1.0 / residual_norm_);
  }
  set_residual(start, "start");
}

// residual_ ← start without its components in the basis.
template <class T> void Lanczos<T>::set_residual(std::span<const double> start, const char *name) {
  require(static_cast<std::int64_t>(start.size()) == n(), "`", name, "` must have ", n(),
          " entries, got ", start.size());
  std::vector<double> w(start.begin(), start.end());
  const double length = bring_into_range(w, name).second;
  std::vector<double> coefficients(static_cast<std::size_t>(basis_.size()));
  const double left = basis_.size() > 0 ? basis_.orthogonalise(w, coefficients) : length;
  // 1e-10: below it the complement's component is mostly rounding of the rest
  require(left > 1e-10 * length, "`", name,
          "` must not be zero or within the span of the vectors so far");
  residual_ = std::move(w);
  residual_norm_ = left;
}

template <class T> std::span<const T> Lanczos<T>::next() {
  if (!pending_) {
    require(!exhausted_, "the Krylov space is exhausted after ", steps(), " steps; ",
            steps() == dimension() ? "the whole space is spanned"
                                   : "call `restart` with a fresh Gaussian vector");
    require(steps() < capacity(), "the capacity of ", capacity(),
            " vectors is used up; call `compress`, or raise it with `raise_capacity`");
    coefficients_.reserve(static_cast<std::size_t>(basis_.size() / 64 + 1) * 64 + 1);
    projection_.reserve(static_cast<std::size_t>(steps() / 64 + 1) * 64);
    basis_.append(residual_, 1.0 / residual_norm_);
    pending_ = true;
  }
  return basis_[basis_.size() - 1];
}

template <class T> void Lanczos<T>::push(std::span<const float> w) {
  require(static_cast<std::int64_t>(w.size()) == n(), "`w` must have ", n(), " entries, got ",
          w.size());
  require(pending_, "call `next` before `push`: there is no vector whose product is awaited");
  copy(w, residual_);
  orthogonalise_product();
}

template <class T> void Lanczos<T>::push(std::span<const double> w) {
  require(static_cast<std::int64_t>(w.size()) == n(), "`w` must have ", n(), " entries, got ",
          w.size());
  require(pending_, "call `next` before `push`: there is no vector whose product is awaited");
  copy(w, residual_);
  orthogonalise_product();
}

template <class T> void Lanczos<T>::orthogonalise_product() {
  const auto [exponent, length] = bring_into_range(residual_, "w");
  const double size = std::ldexp(length, exponent);
  require(std::isfinite(size), "`w` is too large: its norm overflows float64");
  coefficients_.assign(static_cast<std::size_t>(basis_.size()), 0.0);
  residual_norm_ = basis_.orthogonalise(residual_, coefficients_, 2);
  largest_product_ = std::max(largest_product_, size);
  asymmetry_ = std::max(asymmetry_, measured_asymmetry(exponent));
  commit(std::ldexp(coefficients_.back(), exponent), std::ldexp(residual_norm_, exponent));
}

template <class T> double Lanczos<T>::measured_asymmetry(int exponent) const {
  double sum = 0.0;
  for (auto i = static_cast<std::size_t>(locked_); i + 1 < coefficients_.size(); ++i) {
    const double expected = projection_.expected(static_cast<std::int64_t>(i) - locked_);
    const double difference = coefficients_[i] - std::ldexp(expected, -exponent);
    sum += difference * difference;
  }
  return std::ldexp(std::sqrt(sum), exponent);
}

template <class T> void Lanczos<T>::commit(double alpha, double residual) {
  constexpr double epsilon = std::numeric_limits<T>::epsilon();
  const double rounding = 0.5 * epsilon * largest_product_;
  const bool spanned = steps() + 1 == dimension();
  const double taken = static_cast<double>(projection_.products() + 1);
  invariant_ = spanned || residual <= 10.0 * epsilon * std::sqrt(taken) * largest_product_;
  exhausted_ = spanned || residual <= 0.1 * rounding;
  projection_.extend(alpha, spanned ? 0.0 : std::max(residual, rounding));
  pending_ = false;
  forget_ritz();
}

template <class T> void Lanczos<T>::restart(std::span<const double> start) {
  require(invariant_ && !pending_,
          "`restart` needs an invariant run whose last product was pushed");
  require(steps() < dimension(), "the whole space is spanned: there is nothing left to restart in");
  set_residual(start, "start");
  projection_.begin_run();
  invariant_ = exhausted_ = false;
  forget_ritz();
}

template <class T> void Lanczos<T>::compress(Split kept) {
  require(!pending_, "`compress` needs the product of `next` to be pushed first");
  const Compression compression = projection_.compression(kept.low, kept.high);
  std::vector<double> weights;
  for (const RitzPair &pair : compression.kept)
    weights.insert(weights.end(), pair.weights.begin(), pair.weights.end());
  basis_.compress(weights, locked_, static_cast<std::int64_t>(compression.kept.size()));
  projection_.compress(compression);
  forget_ritz();
}

template <class T> std::span<const T> Lanczos<T>::basis_vector(std::int64_t i) const {
  require(i >= 0 && locked_ + i < basis_.size(), "basis vector ", i, " does not exist");
  return basis_[locked_ + i];
}

template <class T> const typename Lanczos<T>::Ritz &Lanczos<T>::ritz() const {
  if (!ritz_) {
    Ritz ritz;
    for (const RitzPair &pair : projection_.pairs(false)) {
      ritz.values.push_back(pair.value);
      ritz.residuals.push_back(std::abs(pair.spike));
    }
    ritz_ = std::move(ritz);
  }
  return *ritz_;
}

template <class T> std::span<const double> Lanczos<T>::ritz_values() const { return ritz().values; }

template <class T> std::span<const double> Lanczos<T>::residuals() const {
  return ritz().residuals;
}

template <class T>
void Lanczos<T>::ritz_vectors(std::span<const std::int64_t> indices, std::span<double> rows) const {
  require(rows.size() == indices.size() * static_cast<std::size_t>(n()), "`rows` must hold ",
          indices.size(), " x ", n(), " numbers, got ", rows.size());
  for (const std::int64_t i : indices)
    require(i >= 0 && i < steps(), "`indices` must be in [0, ", steps(), "), got ", i);
  // a vector that is being multiplied is in the basis, but not in T
  const auto width = static_cast<std::size_t>(basis_.size());
  if (!pairs_)
    pairs_ = projection_.pairs(true);
  const std::vector<RitzPair> &pairs = *pairs_;
  std::vector<double> weights(indices.size() * width, 0.0);
  for (std::size_t q = 0; q < indices.size(); ++q)
    std::ranges::copy(pairs[static_cast<std::size_t>(indices[q])].weights,
                      weights.begin() + static_cast<std::ptrdiff_t>(q * width) + locked_);
  const auto count = static_cast<std::int64_t>(indices.size());
  basis_.combine(weights, count, rows);
  for (std::int64_t q = 0; q < count; ++q) {
    const auto row = rows.subspan(static_cast<std::size_t>(q * n()), static_cast<std::size_t>(n()));
    const double inverse = 1.0 / norm(row);
    for (double &x : row)
      x *= inverse;
  }
}

template class Lanczos<float>;
template class Lanczos<double>;

} // namespace unstuck
