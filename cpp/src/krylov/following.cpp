// Rayleigh–Ritz on up to three vectors, in float64 sums, and the next vectors, in as few sweeps
// over them as there can be.
#include "unstuck/krylov/following.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "unstuck/error.hpp"
#include "unstuck/krylov/vectors.hpp"
#include "unstuck/parallel.hpp"

namespace unstuck {
namespace {

constexpr std::int64_t kRows = 8192; // elements per block of a reduction
constexpr double kDependent = 1e-6;  // of a vector's length left by orthogonalisation
constexpr std::size_t kMost = static_cast<std::size_t>(kMostFollowed);
using Small = std::array<std::array<double, kMost>, kMost>;

// Sums over [0, n) in blocks: body(begin, end, sums) adds to `Count` numbers.
template <std::size_t Count, class Body>
std::array<double, Count> block_sums(std::int64_t n, std::int64_t work, Body &&body) {
  const std::int64_t blocks = (n + kRows - 1) / kRows;
  std::array<double, Count> sum{};
  if (blocks <= 1) {
    body(std::int64_t{0}, n, sum.data());
    return sum;
  }
  std::vector<std::array<double, Count>> parts(static_cast<std::size_t>(blocks));
  parallel_blocks(blocks, work, [&](std::int64_t block, int) {
    body(block * kRows, std::min(n, (block + 1) * kRows),
         parts[static_cast<std::size_t>(block)].data());
  });
  for (const auto &part : parts)
    for (std::size_t i = 0; i < Count; ++i)
      sum[i] += part[i];
  return sum;
}

// small[i][j] = ⟨rows_i, images_j⟩
template <int K, class T> Small gram(const T *rows, const T *images, std::int64_t n) {
  constexpr int lanes = Vector<double>::lanes;
  const auto sums =
      block_sums<K * K>(n, n * K, [&](std::int64_t begin, std::int64_t end, double *sum) {
        Lanes<double> acc[K * K] = {};
        std::int64_t e = begin;
        for (; e + lanes <= end; e += lanes) {
          Lanes<double> image[K];
          for (int j = 0; j < K; ++j)
            image[j] = load<double>(images + j * n + e);
          for (int i = 0; i < K; ++i) {
            const Lanes<double> row = load<double>(rows + i * n + e);
            for (int j = 0; j < K; ++j)
              acc[i * K + j] += row * image[j];
          }
        }
        for (int i = 0; i < K; ++i)
          for (int j = 0; j < K; ++j) {
            double s = total<double>(acc[i * K + j]);
            for (std::int64_t tail = e; tail < end; ++tail)
              s += static_cast<double>(rows[i * n + tail]) *
                   static_cast<double>(images[j * n + tail]);
            sum[i * K + j] = s;
          }
      });
  Small small{};
  for (std::size_t i = 0; i < K; ++i)
    for (std::size_t j = 0; j < K; ++j)
      small[i][j] = sums[i * K + j];
  return small;
}

template <class T> double dot(const T *a, const T *b, std::int64_t n) {
  return gram<1>(a, b, n)[0][0];
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

struct Lengths {
  double uu, rr, ur;
};

// u = Σ weights_i·rows_i and r = Σ weights_i·images_i − value·u, stored as T; their inner products.
template <int K, class T>
Lengths best_of_span(const double *weights, const T *rows, const T *images, double value,
                     std::int64_t n, T *u, T *r) {
  constexpr int lanes = Vector<double>::lanes;
  const auto sums =
      block_sums<3>(n, 2 * n * K, [&](std::int64_t begin, std::int64_t end, double *sum) {
        Lanes<double> uu{}, rr{}, ur{};
        const auto step = [&](auto number, std::int64_t e) {
          auto x = weights[0] * number(rows + e), h = weights[0] * number(images + e);
          for (int i = 1; i < K; ++i) {
            x += weights[i] * number(rows + i * n + e);
            h += weights[i] * number(images + i * n + e);
          }
          return std::pair{x, h - value * x};
        };
        std::int64_t e = begin;
        for (; e + lanes <= end; e += lanes) {
          const auto [x, y] = step([](const T *p) { return load<double>(p); }, e);
          store<double>(u + e, x);
          store<double>(r + e, y);
          uu += x * x;
          rr += y * y;
          ur += x * y;
        }
        sum[0] = total<double>(uu), sum[1] = total<double>(rr), sum[2] = total<double>(ur);
        for (; e < end; ++e) {
          const auto [x, y] = step([](const T *p) { return static_cast<double>(*p); }, e);
          u[e] = static_cast<T>(x);
          r[e] = static_cast<T>(y);
          sum[0] += x * x, sum[1] += y * y, sum[2] += x * y;
        }
      });
  return {sums[0], sums[1], sums[2]};
}

// target = factor·target + other_factor·other
template <class T>
void mix(double factor, T *target, double other_factor, const T *other, std::int64_t n) {
  parallel_ranges(n, kRows, n / 2, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t e = begin; e < end; ++e)
      target[e] = static_cast<T>(factor * static_cast<double>(target[e]) +
                                 other_factor * static_cast<double>(other[e]));
  });
}

template <class T> void scale(T *vector, std::int64_t n, double factor) {
  parallel_ranges(n, kRows, n / 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t e = begin; e < end; ++e)
      vector[e] = static_cast<T>(static_cast<double>(vector[e]) * factor);
  });
}

// Makes row `count` of `next`, of the given length, orthogonal to those before it, by two passes,
// and of unit length; false if nothing is left.
template <class T> bool settle(T *next, double length, std::int64_t n, std::int64_t count) {
  T *vector = next + count * n;
  if (!(length > 0.0) || !std::isfinite(length))
    return false;
  scale(vector, n, 1.0 / length);
  for (int pass = 0; pass < 2; ++pass) {
    for (std::int64_t i = 0; i < count; ++i)
      mix(1.0, vector, -dot<T>(vector, next + i * n, n), next + i * n, n);
    const double left = std::sqrt(dot<T>(vector, vector, n));
    if (!(left > kDependent))
      return false;
    scale(vector, n, 1.0 / left);
  }
  return true;
}

// ⟨x, x⟩, ⟨x, h⟩ and ⟨h, h⟩
template <class T> std::array<double, 3> three_dots(const T *x, const T *h, std::int64_t n) {
  constexpr int lanes = Vector<double>::lanes;
  return block_sums<3>(n, n, [&](std::int64_t begin, std::int64_t end, double *sum) {
    Lanes<double> xx{}, xh{}, hh{};
    std::int64_t e = begin;
    for (; e + lanes <= end; e += lanes) {
      const Lanes<double> a = load<double>(x + e), b = load<double>(h + e);
      xx += a * a;
      xh += a * b;
      hh += b * b;
    }
    sum[0] = total<double>(xx), sum[1] = total<double>(xh), sum[2] = total<double>(hh);
    for (; e < end; ++e) {
      const double a = static_cast<double>(x[e]), b = static_cast<double>(h[e]);
      sum[0] += a * a, sum[1] += a * b, sum[2] += b * b;
    }
  });
}

// One row x, and the step of power iteration (H + σI)x.
template <class T>
Followed power_step(std::int64_t n, const T *row, const T *image, double sign, double shift,
                    T *next) {
  const auto [xx, xh, hh] = three_dots(row, image, n);
  const double value = xh / xx, sigma = sign * shift;
  double square = hh - xh * value; // of the residual
  if (square < 1e-6 * hh) {        // cancelled
    const double one = 1.0;
    square = best_of_span<1, T>(&one, row, image, value, n, next, next + n).rr;
  }
  const double length = std::sqrt(hh + sigma * (2.0 * xh + sigma * xx));
  const bool moves = length > 0.0 && std::isfinite(length);
  const double of_row = moves ? sigma / length : 1.0 / std::sqrt(xx),
               of_image = moves ? 1.0 / length : 0.0;
  parallel_ranges(n, kRows, n / 2, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t e = begin; e < end; ++e)
      next[e] = static_cast<T>(of_row * static_cast<double>(row[e]) +
                               of_image * static_cast<double>(image[e]));
  });
  return {value, std::sqrt(std::max(square, 0.0) / xx), 1};
}

template <int K, class T>
Followed rayleigh_ritz(std::int64_t n, const T *rows, const T *images, double sign,
                       std::int64_t most, T *next) {
  Small small = gram<K>(rows, images, n);
  for (std::size_t i = 0; i < K; ++i)
    for (std::size_t j = 0; j < i; ++j)
      small[i][j] = small[j][i] = 0.5 * small[i][j] + 0.5 * small[j][i];
  const auto weights = extreme_vector(small, K, sign);
  double quotient = 0.0, square = 0.0; // uᵀHu; orthonormal rows
  for (std::size_t i = 0; i < K; ++i) {
    square += weights[i] * weights[i];
    for (std::size_t j = 0; j < K; ++j)
      quotient += weights[i] * small[i][j] * weights[j];
  }
  const double estimate = quotient / square;
  const Lengths is = best_of_span<K>(weights.data(), rows, images, estimate, n, next, next + n);
  const double value = quotient / is.uu; // of u as it is stored, up to rounding
  Followed found{value, std::sqrt(is.rr / is.uu), 1};
  const double overlap = is.ur / is.uu, left = is.rr - is.ur * overlap;
  const double u_length = std::sqrt(is.uu);
  bool second = false;
  if (left > 0.5 * is.rr && std::isfinite(left)) { // r is orthogonal to u but for rounding
    mix(1.0 / std::sqrt(left), next + n, -overlap / std::sqrt(left), next, n);
    scale(next, n, 1.0 / u_length);
    second = true;
  } else {
    scale(next, n, 1.0 / u_length);
    second = settle(next, std::sqrt(is.rr), n, 1);
  }
  found.count += second;
  if (most > 2 && K > 1 && second) {
    std::array<double, kMost> moved = weights;
    moved[0] = 0.0;
    std::vector<T> unused(static_cast<std::size_t>(n));
    const Lengths move =
        best_of_span<K>(moved.data(), rows, images, 0.0, n, next + 2 * n, unused.data());
    found.count += settle(next, std::sqrt(move.uu), n, 2);
  }
  return found;
}

} // namespace

template <class T>
Followed follow(std::int64_t n, std::span<const T> rows, std::span<const T> images, double sign,
                double shift, std::int64_t most, std::span<T> next) {
  const std::size_t k = n > 0 ? rows.size() / static_cast<std::size_t>(n) : 0;
  require(k >= 1 && k <= kMost && images.size() == rows.size(),
          "`rows` and `images` must have 1 to 3 rows and the same shape");
  if (most == 1 && k == 1)
    return power_step(n, rows.data(), images.data(), sign, shift, next.data());
  return k == 1   ? rayleigh_ritz<1>(n, rows.data(), images.data(), sign, most, next.data())
         : k == 2 ? rayleigh_ritz<2>(n, rows.data(), images.data(), sign, most, next.data())
                  : rayleigh_ritz<3>(n, rows.data(), images.data(), sign, most, next.data());
}

template <class T>
void scaled(std::int64_t n, std::int64_t count, const T *rows, const T *factors, T *result) {
  parallel_ranges(n, kRows, n * count / 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = 0; i < count; ++i) {
      const T *row = rows + i * n;
      T *target = result + i * n;
      if (!factors)
        std::copy(row + begin, row + end, target + begin);
      else
        for (std::int64_t e = begin; e < end; ++e)
          target[e] = row[e] * factors[e];
    }
  });
}

template <class T> bool finite(const T *numbers, std::int64_t size) {
  constexpr int lanes = Vector<T>::lanes;
  const auto sums =
      block_sums<1>(size, size / 8, [&](std::int64_t begin, std::int64_t end, double *sum) {
        Lanes<T> zero{}; // x − x: 0, or NaN where x is not finite
        std::int64_t e = begin;
        for (; e + lanes <= end; e += lanes) {
          const Lanes<T> x = load<T>(numbers + e);
          zero += x - x;
        }
        sum[0] = static_cast<double>(total<T>(zero));
        for (; e < end; ++e)
          sum[0] += static_cast<double>(numbers[e] - numbers[e]);
      });
  return sums[0] == 0.0;
}

template <class V, class T>
void inverse_roots(std::span<const V> square, double factor, double epsilon, std::span<T> scale) {
  constexpr std::size_t lanes = 64 / sizeof(V);
  const auto n = static_cast<std::int64_t>(square.size());
  const std::int64_t blocks = (n + kRows - 1) / kRows;
  std::vector<V> largest(static_cast<std::size_t>(blocks));
  const auto each = [&](std::int64_t work, auto &&body) {
    parallel_blocks(blocks, work, [&](std::int64_t block, int) {
      body(static_cast<std::size_t>(block * kRows),
           static_cast<std::size_t>(std::min(n, (block + 1) * kRows)),
           static_cast<std::size_t>(block));
    });
  };
  each(n / 8, [&](std::size_t begin, std::size_t end, std::size_t block) {
    V most[lanes] = {};
    std::size_t e = begin;
    for (; e + lanes <= end; e += lanes)
      for (std::size_t l = 0; l < lanes; ++l)
        most[l] = square[e + l] > most[l] ? square[e + l] : most[l];
    for (; e < end; ++e)
      most[0] = std::max(most[0], square[e]);
    largest[block] = *std::max_element(most, most + lanes);
  });
  const double top = largest.empty() ? 0.0 : *std::max_element(largest.begin(), largest.end());
  const double still = std::max(epsilon, 1e-7 * std::sqrt(top * factor));
  const V low = static_cast<V>(still * still / factor); // √(factor·square) > still
  const T eps = static_cast<T>(epsilon), ratio = static_cast<T>(std::sqrt(factor));
  each(n / 2, [&](std::size_t begin, std::size_t end, std::size_t) {
    const V *v = square.data();
    T *result = scale.data();
    for (std::size_t e = begin; e < end; ++e) {
      const T inverse = T(1) / std::sqrt(std::sqrt(static_cast<T>(v[e])) * ratio + eps);
      result[e] = v[e] > low ? inverse : T(0);
    }
  });
}

template void scaled(std::int64_t, std::int64_t, const float *, const float *, float *);
template void scaled(std::int64_t, std::int64_t, const double *, const double *, double *);
template bool finite(const float *, std::int64_t);
template bool finite(const double *, std::int64_t);
template void inverse_roots(std::span<const float>, double, double, std::span<float>);
template void inverse_roots(std::span<const float>, double, double, std::span<double>);
template void inverse_roots(std::span<const double>, double, double, std::span<float>);
template void inverse_roots(std::span<const double>, double, double, std::span<double>);
template Followed follow(std::int64_t, std::span<const float>, std::span<const float>, double,
                         double, std::int64_t, std::span<float>);
template Followed follow(std::int64_t, std::span<const double>, std::span<const double>, double,
                         double, std::int64_t, std::span<double>);

} // namespace unstuck
