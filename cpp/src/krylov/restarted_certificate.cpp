// Certified ends of a spectrum from the roots of residual polynomials: what a thick restart keeps.
#include <algorithm>
#include <cmath>
#include <limits>

#include "unstuck/error.hpp"
#include "unstuck/krylov/certificate.hpp"

namespace unstuck {
namespace {

using Runs = std::span<const ResidualPolynomial>;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kEpsilon = std::numeric_limits<double>::epsilon();

void check(Runs runs, double delta) {
  require(delta > 0.0 && delta < 1.0, "`delta` must be in (0, 1), got ", delta);
  for (const ResidualPolynomial &run : runs) {
    require(run.dimension >= 1, "every `dimension` must be at least 1, got ", run.dimension);
    require(run.roots.size() == run.beta.size() && !run.beta.empty(),
            "`roots` and `beta` of a run must have the same length, at least 1, got ",
            run.roots.size(), " and ", run.beta.size());
    for (std::size_t i = 0; i < run.beta.size(); ++i)
      require(std::isfinite(run.roots[i]) && std::isfinite(run.beta[i]) &&
                  (run.beta[i] > 0.0 || (run.beta[i] == 0.0 && i + 1 == run.beta.size())),
              "`roots` must be finite and `beta` finite and positive (the last of a run may be 0); "
              "entry ",
              i, " is ", run.roots[i], ", ", run.beta[i]);
  }
}

// All runs, scaled by a power of two, with `sign` times their roots.
class ScaledPolynomials {
public:
  ScaledPolynomials(Runs runs, double sign, double delta) {
    double largest = 0.0;
    for (const ResidualPolynomial &run : runs)
      for (std::size_t i = 0; i < run.beta.size(); ++i)
        largest = std::max({largest, std::abs(run.roots[i]), run.beta[i]});
    zero_ = largest == 0.0;
    if (!zero_)
      std::frexp(largest, &exponent_);
    for (const ResidualPolynomial &run : runs) {
      Scaled scaled{{}, 0.0, log_t(run.dimension, 1.0)};
      for (const double root : run.roots)
        scaled.roots.push_back(std::ldexp(sign * root, -exponent_));
      for (const double beta : run.beta)
        scaled.log_beta += std::log(std::ldexp(beta, -exponent_)); // −∞: infinite evidence
      smallest_ = std::min(smallest_, *std::ranges::min_element(scaled.roots));
      runs_.push_back(std::move(scaled));
    }
    for (std::size_t i = 0; i + 1 < runs.size(); ++i)
      neglected_ += std::ldexp(runs[i].beta.back(), -exponent_);
    needed_ =
        needed_evidence(runs.front().dimension, static_cast<std::int64_t>(runs.size()), delta);
  }

  double scaled(double x) const { return std::ldexp(x, -exponent_) + neglected_; }
  double needed() const { return needed_; }

  // −∞ when x is not left of all roots
  double evidence(double x) const {
    if (!(x < smallest_))
      return -kInfinity;
    double sum = 0.0;
    for (const Scaled &run : runs_) {
      double value = -run.log_beta;
      for (const double root : run.roots)
        value += std::log(root - x);
      sum += runs_.size() == 1 ? value : std::max(0.0, value + run.log_unit);
    }
    return sum;
  }

  double lower_end() const {
    if (zero_)
      return 0.0;
    double high = smallest_, low = smallest_ - 1.0, width = 1.0;
    while (!holds(low)) {
      high = low;
      width *= 4.0;
      low -= width;
      if (!std::isfinite(low))
        return -kInfinity;
    }
    while (high - low > 2.0 * kEpsilon * std::max(1.0, std::abs(low))) {
      const double middle = low + 0.5 * (high - low);
      (holds(middle) ? low : high) = middle;
    }
    return std::ldexp(low - neglected_, exponent_);
  }

private:
  bool holds(double x) const { return evidence(x) >= needed_; }

  struct Scaled {
    std::vector<double> roots;
    double log_beta, log_unit; // Σ ln β; ln of the t for δ = 1
  };
  std::vector<Scaled> runs_;
  int exponent_ = 0;
  bool zero_ = false;
  double smallest_ = kInfinity, neglected_ = 0.0, needed_ = 0.0;
};

double lower(Runs runs, double delta, double sign) {
  check(runs, delta);
  return runs.empty() ? -kInfinity : ScaledPolynomials(runs, sign, delta).lower_end();
}

} // namespace

double certificate_lower(Runs runs, double delta) { return lower(runs, delta, 1.0); }

double certificate_upper(Runs runs, double delta) { return 0.0 - lower(runs, delta, -1.0); }

std::int64_t predicted_steps(Runs runs, const ResidualPolynomial &earlier, double delta,
                             double target) {
  check(runs, delta);
  require(std::isfinite(target), "`target` must be finite, got ", target);
  if (runs.empty())
    return -1;
  const ScaledPolynomials now(runs, 1.0, delta);
  const double x = now.scaled(target), reached = now.evidence(x);
  if (reached == -kInfinity)
    return -1;
  if (reached >= now.needed())
    return 0;
  const auto steps = runs.back().beta.size() - earlier.beta.size();
  double before = 0.0;
  if (!earlier.beta.empty()) {
    std::vector<ResidualPolynomial> then(runs.begin(), runs.end());
    then.back() = earlier;
    const ScaledPolynomials past(then, 1.0, delta);
    before = past.evidence(past.scaled(target));
  }
  const double growth = (reached - before) / static_cast<double>(steps);
  if (steps == 0 || !(growth > 0.0) || !std::isfinite(growth))
    return -1;
  return static_cast<std::int64_t>(std::min(std::ceil((now.needed() - reached) / growth), 1e15));
}

} // namespace unstuck
