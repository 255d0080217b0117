// Evaluates Lanczos polynomials left of the Ritz values and bisects for the certified ends of the
// spectrum.
#include "unstuck/krylov/certificate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "unstuck/error.hpp"

namespace unstuck {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
constexpr double kLargeFactor = 1e100; // running products are moved into the logarithm beyond it

// ln Σ_{j<r} c^j/j!
double log_exponential_sum(std::int64_t r, double c) {
  double log_term = 0.0, largest = 0.0;
  for (std::int64_t j = 1; j < r; ++j) {
    log_term += std::log(c / static_cast<double>(j));
    largest = std::max(largest, log_term);
  }
  double sum = std::exp(-largest);
  log_term = 0.0;
  for (std::int64_t j = 1; j < r; ++j) {
    log_term += std::log(c / static_cast<double>(j));
    sum += std::exp(log_term - largest);
  }
  return largest + std::log(sum);
}

// The c with P(Gamma(r) > c) = e^{−c} Σ_{j<r} c^j/j! = e^{log_probability}, rounded up.
double gamma_quantile(std::int64_t r, double log_probability) {
  double low = 0.0, high = 1.0;
  const auto exceeds = [&](double c) { return log_exponential_sum(r, c) - c > log_probability; };
  while (exceeds(high))
    high *= 2.0;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (exceeds(middle) ? low : high) = middle;
  }
  return high;
}

// The recurrence scaled by a power of two, cut into its runs.
class ScaledRecurrence {
public:
  ScaledRecurrence(const Recurrence &r, double delta, double sign)
      : n_(r.n), alpha_(r.alpha.size()), beta_(r.beta.size()) {
    double largest = 0.0;
    for (std::size_t j = 0; j < alpha_.size(); ++j)
      largest = std::max({largest, std::abs(r.alpha[j]), r.beta[j]});
    zero_ = largest == 0.0;
    if (!zero_)
      std::frexp(largest, &exponent_);
    for (std::size_t j = 0; j < alpha_.size(); ++j) {
      alpha_[j] = std::ldexp(sign * r.alpha[j], -exponent_);
      beta_[j] = std::ldexp(r.beta[j], -exponent_);
    }
    bounds_.push_back(0);
    bounds_.insert(bounds_.end(), r.restarts.begin(), r.restarts.end());
    bounds_.push_back(steps());
    for (std::size_t i = 1; i + 1 < bounds_.size(); ++i)
      neglected_ += beta_[static_cast<std::size_t>(bounds_[i] - 1)];
    needed_ = needed_evidence(delta);
  }

  std::int64_t steps() const { return static_cast<std::int64_t>(alpha_.size()); }
  std::int64_t runs() const { return static_cast<std::int64_t>(bounds_.size()) - 1; }
  bool zero() const { return zero_; }
  double needed() const { return needed_; }
  double neglected() const { return neglected_; }
  double scaled(double x) const { return std::ldexp(x, -exponent_); }
  double unscaled(double x) const { return std::ldexp(x, exponent_); }

  // ln|p(x)| of run i after its first `count` steps; −∞ when x is not left of all its Ritz values.
  double log_polynomial(std::int64_t run, double x, std::int64_t count) const {
    const auto begin = static_cast<std::size_t>(bounds_[static_cast<std::size_t>(run)]);
    double log_sum = 0.0, factor = 1.0, pivot = 1.0, squared = 0.0;
    for (std::size_t j = begin; j < begin + static_cast<std::size_t>(count); ++j) {
      // d_j = α_j − x − β_{j−1}²/d_{j−1},  |p_j/p_{j−1}| = d_j/β_j
      pivot = alpha_[j] - x - squared / pivot;
      if (!(pivot > 0.0))
        return -kInfinity;
      factor *= pivot / beta_[j]; // β_j = 0: an invariant subspace, infinite evidence
      if (!(factor < kLargeFactor && factor > 1.0 / kLargeFactor)) {
        log_sum += std::log(factor);
        factor = 1.0;
      }
      squared = beta_[j] * beta_[j];
    }
    return log_sum + std::log(factor);
  }

  double evidence(double x) const {
    double sum = 0.0;
    for (std::int64_t i = 0; i < runs(); ++i) {
      const double value = log_polynomial(i, x, length(i));
      if (value == -kInfinity)
        return value;
      sum += runs() == 1 ? value : std::max(0.0, value + log_t(dimension(i), 1.0));
    }
    return sum;
  }

  bool holds(double x) const {
    const double value = evidence(x);
    return value > -kInfinity && value >= needed_;
  }

  std::int64_t length(std::int64_t run) const {
    const auto i = static_cast<std::size_t>(run);
    return bounds_[i + 1] - bounds_[i];
  }

private:
  std::int64_t dimension(std::int64_t run) const {
    return n_ - bounds_[static_cast<std::size_t>(run)];
  }

  double needed_evidence(double delta) const {
    if (steps() == n_)
      return -kInfinity; // T is similar to the whole operator
    return unstuck::needed_evidence(n_, runs(), delta);
  }

  std::int64_t n_;
  std::vector<double> alpha_, beta_;
  std::vector<std::int64_t> bounds_; // first step of each run, then k
  int exponent_ = 0;
  bool zero_ = false;
  double neglected_ = 0.0;
  double needed_ = 0.0;
};

void check(const Recurrence &r, double delta) {
  require(r.n >= 1, "`n` must be at least 1, got ", r.n);
  require(delta > 0.0 && delta < 1.0, "`delta` must be in (0, 1), got ", delta);
  require(r.alpha.size() == r.beta.size(), "`alpha` and `beta` must have the same length, got ",
          r.alpha.size(), " and ", r.beta.size());
  require(static_cast<std::int64_t>(r.alpha.size()) <= r.n, "`alpha` has more entries (",
          r.alpha.size(), ") than the dimension `n` = ", r.n);
  for (std::size_t j = 0; j < r.alpha.size(); ++j)
    require(std::isfinite(r.alpha[j]) && std::isfinite(r.beta[j]) && r.beta[j] >= 0.0,
            "`alpha` must be finite and `beta` finite and non-negative; entry ", j, " is ",
            r.alpha[j], ", ", r.beta[j]);
  std::int64_t begin = 0;
  const auto check_run = [&](std::int64_t end) {
    for (std::int64_t j = begin; j + 1 < end; ++j)
      require(r.beta[static_cast<std::size_t>(j)] > 0.0,
              "`beta` may be zero only where a run ends, but entry ", j, " is");
    begin = end;
  };
  for (const std::int64_t step : r.restarts) {
    require(step > begin && step < static_cast<std::int64_t>(r.alpha.size()),
            "`restarts` must ascend within (0, ", r.alpha.size(), "), got ", step);
    check_run(step);
  }
  check_run(static_cast<std::int64_t>(r.alpha.size()));
}

// Bisection on the scaled axis; the returned end always satisfies the bound.
double lower_end(const ScaledRecurrence &s) {
  if (s.zero())
    return 0.0;
  double high = 4.0, low = -4.0,
         width = 8.0; // Gershgorin: |θ| ≤ 3 after scaling, so x = 4 never holds
  while (!s.holds(low)) {
    high = low;
    width *= 4.0;
    low -= width;
    if (!std::isfinite(low))
      return -kInfinity;
  }
  while (high - low > 2.0 * kEpsilon * std::max(1.0, std::abs(low))) {
    const double middle = low + 0.5 * (high - low);
    (s.holds(middle) ? low : high) = middle;
  }
  return s.unscaled(low - s.neglected());
}

double lower(const Recurrence &recurrence, double delta, double sign) {
  check(recurrence, delta);
  if (recurrence.alpha.empty())
    return -kInfinity;
  return lower_end(ScaledRecurrence(recurrence, delta, sign));
}

} // namespace

double log_t(std::int64_t n, double delta) {
  if (n <= 1)
    return 0.0;
  if (n == 2)
    return std::log(delta);
  return std::log(delta) + 0.5 * std::log(std::numbers::pi / (2.0 * static_cast<double>(n - 1)));
}

double needed_evidence(std::int64_t n, std::int64_t runs, double delta) {
  if (runs == 1)
    return -log_t(n, delta);
  const double log_level = std::log(delta) - std::log(8.0 * static_cast<double>(n - 1)) -
                           static_cast<double>(runs - 1) * std::numbers::ln2;
  return gamma_quantile(runs, log_level);
}

double certificate_lower(const Recurrence &recurrence, double delta) {
  return lower(recurrence, delta, 1.0);
}

double certificate_upper(const Recurrence &recurrence, double delta) {
  return 0.0 - lower(recurrence, delta, -1.0); // 0 rather than −0
}

std::int64_t predicted_steps(const Recurrence &recurrence, double delta, double target) {
  check(recurrence, delta);
  require(std::isfinite(target), "`target` must be finite, got ", target);
  if (recurrence.alpha.empty())
    return -1;
  const ScaledRecurrence s(recurrence, delta, 1.0);
  const double x = s.scaled(target) + s.neglected();
  const double now = s.evidence(x);
  if (now == -kInfinity)
    return -1;
  if (now >= s.needed())
    return 0;
  // mean growth over the last quarter of the current run: outliers, resolved first, hardly let it
  // grow
  const std::int64_t run = s.runs() - 1, steps = s.length(run);
  const std::int64_t window = std::min(steps, std::max<std::int64_t>(4, steps / 4));
  const double growth =
      (s.log_polynomial(run, x, steps) - s.log_polynomial(run, x, steps - window)) /
      static_cast<double>(window);
  if (!(growth > 0.0))
    return -1;
  const double more = std::ceil((s.needed() - now) / growth);
  return static_cast<std::int64_t>(std::min(
      more,
      static_cast<double>(recurrence.n - static_cast<std::int64_t>(recurrence.alpha.size()))));
}

} // namespace unstuck
