// Sturm counts, bisection and implicit QL for symmetric tridiagonal matrices.
#include "unstuck/krylov/tridiagonal.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <ranges>

#include "unstuck/error.hpp"

namespace unstuck {
namespace {

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
// Smallest pivot after scaling: its inverse times a squared coupling (≤ 1) stays finite.
constexpr double kSmallestPivot = 1e-290;
constexpr int kSmallestExponent = -1000; // 2^1000 is still a number
constexpr int kSweepsPerEigenvalue = 60;

double coupling_at(const Tridiagonal &t, std::size_t i) {
  return i + 1 < t.diagonal.size() ? t.coupling[i] : 0.0;
}

void require_couplings(const Tridiagonal &t) {
  require(t.diagonal.empty() || t.coupling.size() + 1 >= t.diagonal.size(),
          "`coupling` must have at least ", t.size() - 1, " entries, got ", t.coupling.size());
}

// Eigenvalues < x of the matrix scaled by 2^-e, x scaled alike.
std::int64_t scaled_count(const Tridiagonal &t, int exponent, double x) {
  const double scale = std::ldexp(1.0, -exponent);
  std::int64_t count = 0;
  double pivot = 1.0, squared = 0.0;
  for (std::size_t j = 0; j < t.diagonal.size(); ++j) {
    // d_j = α_j − x − β_{j−1}²/d_{j−1}
    pivot = t.diagonal[j] * scale - x - squared / pivot;
    if (std::abs(pivot) < kSmallestPivot)
      pivot = kSmallestPivot; // an eigenvalue equal to x is not below x
    count += pivot < 0.0;
    const double coupling = coupling_at(t, j) * scale;
    squared = coupling * coupling;
  }
  return count;
}

// A plane rotation of the eigenvector columns i and i+1.
void rotate(double *left, double *right, std::int64_t rows, double c, double s) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const double upper = right[r];
    right[r] = s * left[r] + c * upper;
    left[r] = c * left[r] - s * upper;
  }
}

// The first m ≥ l whose coupling to m+1 is negligible.
std::int64_t split(const std::vector<double> &d, const std::vector<double> &e, std::int64_t l) {
  const auto last = static_cast<std::int64_t>(d.size()) - 1;
  std::int64_t m = l;
  for (; m < last; ++m) {
    const auto i = static_cast<std::size_t>(m);
    const double neighbours = std::abs(d[i]) + std::abs(d[i + 1]);
    if (std::abs(e[i]) <= kEpsilon * neighbours || std::abs(e[i]) < kSmallestPivot)
      break;
  }
  return m;
}

// One implicit QL sweep on the unreduced block l … m.
void sweep(std::vector<double> &d, std::vector<double> &e, std::vector<double> &z,
           std::int64_t rows, std::int64_t l, std::int64_t m) {
  const auto first = static_cast<std::size_t>(l), last = static_cast<std::size_t>(m);
  double g = (d[first + 1] - d[first]) / (2.0 * e[first]);
  double r = std::hypot(g, 1.0);                                 // g may be huge
  g = d[last] - d[first] + e[first] / (g + std::copysign(r, g)); // Wilkinson's shift
  double s = 1.0, c = 1.0, p = 0.0;
  for (std::size_t i = last; i-- > first;) {
    const double f = s * e[i], b = c * e[i];
    r = std::sqrt(f * f + g * g); // entries are at most 1; below 1e-150 they count as zero
    e[i + 1] = r;
    if (r == 0.0) { // the block splits by itself
      d[i + 1] -= p;
      e[last] = 0.0;
      return;
    }
    s = f / r;
    c = g / r;
    g = d[i + 1] - p;
    r = (d[i] - g) * s + 2.0 * c * b;
    p = s * r;
    d[i + 1] = g + p;
    g = c * r - b;
    rotate(&z[i * static_cast<std::size_t>(rows)], &z[(i + 1) * static_cast<std::size_t>(rows)],
           rows, c, s);
  }
  d[first] -= p;
  e[first] = g;
  e[last] = 0.0;
}

TridiagonalEigen sorted(const std::vector<double> &d, const std::vector<double> &z,
                        std::size_t rows, int exponent) {
  std::vector<std::size_t> order(d.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return d[a] < d[b]; });
  TridiagonalEigen result;
  result.values.reserve(d.size());
  result.components.reserve(z.size());
  for (const std::size_t i : order) {
    result.values.push_back(std::ldexp(d[i], exponent));
    result.components.insert(result.components.end(),
                             z.begin() + static_cast<std::ptrdiff_t>(i * rows),
                             z.begin() + static_cast<std::ptrdiff_t>((i + 1) * rows));
  }
  return result;
}

} // namespace

int scale_exponent(const Tridiagonal &t) {
  double largest = 0.0;
  for (std::size_t i = 0; i < t.diagonal.size(); ++i)
    largest = std::max({largest, std::abs(t.diagonal[i]), std::abs(coupling_at(t, i))});
  int exponent = 0;
  if (largest > 0.0)
    std::frexp(largest, &exponent);
  return std::max(exponent, kSmallestExponent);
}

std::int64_t count_below(const Tridiagonal &t, double x) {
  require_couplings(t);
  require(!std::isnan(x), "`x` must be a number, got NaN");
  if (std::isinf(x))
    return x > 0 ? t.size() : 0;
  const int exponent = scale_exponent(t);
  const double scaled = std::clamp(std::ldexp(x, -exponent), -1e300, 1e300);
  return scaled_count(t, exponent, scaled);
}

double eigenvalue(const Tridiagonal &t, std::int64_t i) {
  require_couplings(t);
  require(i >= 0 && i < t.size(), "`i` must be in [0, ", t.size(), "), got ", i);
  const auto is_zero = [&](std::size_t j) {
    return t.diagonal[j] == 0.0 && coupling_at(t, j) == 0.0;
  };
  const auto rows = std::views::iota(std::size_t{0}, t.diagonal.size());
  if (std::ranges::all_of(rows, is_zero))
    return 0.0; // nothing to measure rounding by
  const int exponent = scale_exponent(t);
  double low = -4.0, high = 4.0; // Gershgorin: |λ| ≤ 3 after scaling
  while (high - low > 2.0 * kEpsilon) {
    const double middle = low + 0.5 * (high - low);
    (scaled_count(t, exponent, middle) > i ? high : low) = middle;
  }
  return std::ldexp(low + 0.5 * (high - low), exponent);
}

TridiagonalEigen eigen(const Tridiagonal &t, std::span<const std::int64_t> rows) {
  require_couplings(t);
  const std::size_t k = t.diagonal.size(), width = rows.size();
  const int exponent = scale_exponent(t);
  std::vector<double> d(k), e(k), z(k * width, 0.0);
  for (std::size_t i = 0; i < k; ++i) {
    d[i] = std::ldexp(t.diagonal[i], -exponent);
    e[i] = std::ldexp(coupling_at(t, i), -exponent);
  }
  for (std::size_t r = 0; r < width; ++r) {
    require(rows[r] >= 0 && rows[r] < t.size(), "row ", rows[r], " is outside [0, ", t.size(), ")");
    z[static_cast<std::size_t>(rows[r]) * width + r] = 1.0;
  }
  for (std::int64_t l = 0; l < t.size(); ++l)
    for (int iteration = 0;; ++iteration) {
      const std::int64_t m = split(d, e, l);
      if (m == l)
        break;
      require(iteration < kSweepsPerEigenvalue,
              "the tridiagonal eigenproblem did not converge; are all entries finite?");
      sweep(d, e, z, static_cast<std::int64_t>(width), l, m);
    }
  return sorted(d, z, width, exponent);
}

} // namespace unstuck
