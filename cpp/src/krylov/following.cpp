// Rayleigh–Ritz on up to three vectors, in float64 sums, and the next vectors.
#include "unstuck/krylov/following.hpp"

#include <array>
#include <cmath>
#include <vector>

#include "unstuck/error.hpp"
#include "unstuck/parallel.hpp"

namespace unstuck {
namespace {

constexpr std::int64_t kRows = 8192; // elements per block of a reduction
constexpr double kDependent = 1e-6;  // of a vector's length left by orthogonalisation
constexpr std::size_t kMost = static_cast<std::size_t>(kMostFollowed);
using Small = std::array<std::array<double, kMost>, kMost>;

template <class A, class B> double dot(const A *a, const B *b, std::int64_t n) {
  return parallel_sum(n, kRows, n / 2, [&](std::int64_t begin, std::int64_t end) {
    double lanes[8] = {};
    std::int64_t i = begin;
    for (; i + 8 <= end; i += 8)
      for (std::int64_t l = 0; l < 8; ++l)
        lanes[l] += static_cast<double>(a[i + l]) * static_cast<double>(b[i + l]);
    double sum = 0.0;
    for (; i < end; ++i)
      sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    for (const double lane : lanes)
      sum += lane;
    return sum;
  });
}

// The unit eigenvector of the largest eigenvalue of sign·a, by Jacobi rotations.
std::array<double, kMost> extreme_vector(Small a, std::size_t k, double sign) {
  Small v{};
  for (std::size_t i = 0; i < k; ++i)
    v[i][i] = 1.0;
  for (int sweep = 0; sweep < 30; ++sweep)
    for (std::size_t p = 0; p + 1 < k; ++p)
      for (std::size_t q = p + 1; q < k; ++q) {
        if (a[p][q] == 0.0)
          continue;
        const double angle = 0.5 * std::atan2(2.0 * a[p][q], a[q][q] - a[p][p]);
        const double c = std::cos(angle), s = std::sin(angle);
        for (std::size_t i = 0; i < k; ++i) {
          const double left = a[i][p], right = a[i][q];
          a[i][p] = c * left - s * right;
          a[i][q] = s * left + c * right;
        }
        for (std::size_t i = 0; i < k; ++i) {
          const double upper = a[p][i], lower = a[q][i];
          a[p][i] = c * upper - s * lower;
          a[q][i] = s * upper + c * lower;
        }
        for (std::size_t i = 0; i < k; ++i) {
          const double left = v[i][p], right = v[i][q];
          v[i][p] = c * left - s * right;
          v[i][q] = s * left + c * right;
        }
        a[p][q] = a[q][p] = 0.0;
      }
  std::size_t best = 0;
  for (std::size_t i = 1; i < k; ++i)
    if (sign * a[i][i] > sign * a[best][best])
      best = i;
  std::array<double, kMost> result{};
  for (std::size_t i = 0; i < k; ++i)
    result[i] = v[i][best];
  return result;
}

// target −= shift·base, target += Σ_{i ≥ first} weights[i]·rows_i from target = 0; returns
// ‖target‖².
template <class T>
double combine(std::span<const double> weights, const T *rows, std::int64_t n, std::size_t first,
               std::vector<double> &target, double shift = 0.0,
               const std::vector<double> *base = nullptr) {
  return parallel_sum(n, kRows, 2 * n, [&](std::int64_t begin, std::int64_t end) {
    double *t = target.data();
    for (std::int64_t e = begin; e < end; ++e)
      t[e] = base ? -shift * (*base)[static_cast<std::size_t>(e)] : 0.0;
    for (std::size_t i = first; i < weights.size(); ++i) {
      const T *row = rows + static_cast<std::int64_t>(i) * n;
      const double weight = weights[i];
      for (std::int64_t e = begin; e < end; ++e)
        t[e] += weight * static_cast<double>(row[e]);
    }
    return dot(t + begin, t + begin, end - begin);
  });
}

// The part of `vector` that is orthogonal to the first `count` rows of `next`, by so many passes,
// at unit length, as the next row; false if nothing is left. `length` is that of `vector`.
template <class T>
bool append(std::vector<double> &vector, double length, std::int64_t n, std::int64_t count,
            int passes, T *next) {
  double *v = vector.data();
  double left = length;
  for (int pass = 0; pass < passes; ++pass) {
    for (std::int64_t i = 0; i < count; ++i) {
      const T *row = next + i * n;
      const double share = dot(v, row, n);
      for (std::int64_t e = 0; e < n; ++e)
        v[e] -= share * static_cast<double>(row[e]);
    }
    left = std::sqrt(dot(v, v, n));
  }
  if (!(left > kDependent * length) || !std::isfinite(left))
    return false;
  const double scale = 1.0 / left;
  T *target = next + count * n;
  for (std::int64_t e = 0; e < n; ++e)
    target[e] = static_cast<T>(v[e] * scale);
  return true;
}

} // namespace

template <class T>
Followed follow(std::int64_t n, std::span<const T> rows, std::span<const T> images, double sign,
                std::int64_t most, std::span<T> next) {
  const std::size_t k = n > 0 ? rows.size() / static_cast<std::size_t>(n) : 0;
  require(k >= 1 && k <= kMost && images.size() == rows.size(),
          "`rows` and `images` must have 1 to 3 rows and the same shape");
  Small small{};
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = 0; j < k; ++j)
      small[i][j] = dot(rows.data() + static_cast<std::int64_t>(i) * n,
                        images.data() + static_cast<std::int64_t>(j) * n, n);
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = 0; j < i; ++j)
      small[i][j] = small[j][i] = 0.5 * small[i][j] + 0.5 * small[j][i];
  const auto best = extreme_vector(small, k, sign);
  const std::span<const double> weights(best.data(), k);
  std::vector<double> u(static_cast<std::size_t>(n)), residual(u.size());
  const double square = combine(weights, rows.data(), n, 0, u);
  double quotient = 0.0; // uᵀHu
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = 0; j < k; ++j)
      quotient += weights[i] * small[i][j] * weights[j];
  const double value = quotient / square;
  const double length = std::sqrt(combine(weights, images.data(), n, 0, residual, value, &u));
  Followed found{value, length / std::sqrt(square), 0};
  found.count += append(u, std::sqrt(square), n, 0, 0, next.data());
  if (found.residual > 0.0) // orthogonal to u by the quotient: one pass takes the rounding away
    found.count += append(residual, length, n, found.count, 1, next.data());
  if (most > 2 && k > 1 && found.count == 2) {
    const double moved = std::sqrt(combine(weights, rows.data(), n, 1, u));
    found.count += append(u, moved, n, 2, 2, next.data());
  }
  return found;
}

template Followed follow(std::int64_t, std::span<const float>, std::span<const float>, double,
                         std::int64_t, std::span<float>);
template Followed follow(std::int64_t, std::span<const double>, std::span<const double>, double,
                         std::int64_t, std::span<double>);

} // namespace unstuck
