// Rayleigh–Ritz on up to three vectors, in float64 sums, and the next vectors.
#include "unstuck/krylov/following.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "unstuck/error.hpp"
#include "unstuck/parallel.hpp"

namespace unstuck {
namespace {

constexpr std::int64_t kPart = 512;  // elements that stay in the first-level cache
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

template <class T> void add(double weight, const T *row, std::int64_t count, double *part) {
  for (std::int64_t e = 0; e < count; ++e)
    part[e] += weight * static_cast<double>(row[e]);
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

// target = Σ_i weights[i]·rows_i + Σ_i others[i]·images_i, in float64 before it is stored; returns
// its squared length.
template <class T>
double combine(std::span<const double> weights, const T *rows, std::span<const double> others,
               const T *images, std::int64_t n, T *target) {
  return parallel_sum(n, kRows, n / 2, [&](std::int64_t begin, std::int64_t end) {
    double part[kPart], sum = 0.0;
    for (std::int64_t first = begin; first < end; first += kPart) {
      const std::int64_t count = std::min(kPart, end - first);
      std::fill_n(part, count, 0.0);
      for (std::size_t i = 0; i < weights.size(); ++i)
        add(weights[i], rows + static_cast<std::int64_t>(i) * n + first, count, part);
      for (std::size_t i = 0; i < others.size(); ++i)
        add(others[i], images + static_cast<std::int64_t>(i) * n + first, count, part);
      for (std::int64_t e = 0; e < count; ++e)
        target[first + e] = static_cast<T>(part[e]);
      sum += dot(part, part, count);
    }
    return sum;
  });
}

template <class T> void scale(T *vector, std::int64_t n, double factor) {
  for (std::int64_t e = 0; e < n; ++e)
    vector[e] = static_cast<T>(static_cast<double>(vector[e]) * factor);
}

// Makes row `count` of `next`, of the given length, orthogonal to those before it, by so many
// passes, and of unit length; false if nothing is left.
template <class T>
bool settle(T *next, double length, std::int64_t n, std::int64_t count, int passes) {
  T *vector = next + count * n;
  if (!(length > 0.0) || !std::isfinite(length))
    return false;
  scale(vector, n, 1.0 / length);
  for (int pass = 0; pass < passes; ++pass) {
    for (std::int64_t i = 0; i < count; ++i) {
      const T *row = next + i * n;
      const double share = dot(vector, row, n);
      for (std::int64_t e = 0; e < n; ++e)
        vector[e] =
            static_cast<T>(static_cast<double>(vector[e]) - share * static_cast<double>(row[e]));
    }
    const double left = std::sqrt(dot(vector, vector, n));
    if (!(left > kDependent))
      return false;
    scale(vector, n, 1.0 / left);
  }
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
  const double square = combine(weights, rows.data(), {}, images.data(), n, next.data());
  double quotient = 0.0; // uᵀHu
  for (std::size_t i = 0; i < k; ++i)
    for (std::size_t j = 0; j < k; ++j)
      quotient += weights[i] * small[i][j] * weights[j];
  const double value = quotient / square;
  std::array<double, kMost> shifted{};
  for (std::size_t i = 0; i < k; ++i)
    shifted[i] = -value * weights[i];
  const double length = std::sqrt(
      combine({shifted.data(), k}, rows.data(), weights, images.data(), n, next.data() + n));
  Followed found{value, length / std::sqrt(square), 0};
  found.count += settle(next.data(), std::sqrt(square), n, 0, 0);
  // orthogonal to u by the quotient: one pass takes the rounding away
  found.count += settle(next.data(), length, n, found.count, 1);
  if (most > 2 && k > 1 && found.count == 2) {
    const double moved = std::sqrt(
        combine(weights.subspan(1), rows.data() + n, {}, images.data(), n, next.data() + 2 * n));
    found.count += settle(next.data(), moved, n, 2, 2);
  }
  return found;
}

template Followed follow(std::int64_t, std::span<const float>, std::span<const float>, double,
                         std::int64_t, std::span<float>);
template Followed follow(std::int64_t, std::span<const double>, std::span<const double>, double,
                         std::int64_t, std::span<double>);

} // namespace unstuck
