// Following the ends of a slowly changing spectrum: Rayleigh–Ritz on a few vectors, and the vectors
// to multiply next.
//
// From orthonormal rows x_i and their products H·x_i: the best unit vector u of their span, its
// residual r = H·u − θ·u (the direction in which the quotient rises fastest), and the move p that
// this round added to the old u. Source: A. V. Knyazev, LOBPCG, SIAM J. Sci. Comput. 23 (2001),
// 517–541.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace unstuck {

inline constexpr std::int64_t kMostFollowed = 3; // rows per round
inline constexpr std::int64_t kPair = 2;         // u and r always have room

struct Followed {
  double value;       // uᵀHu/uᵀu
  double residual;    // ‖Hu − value·u‖/‖u‖
  std::int64_t count; // rows of the next round: u, r and p, as far as they are independent
};

// `rows` and `images`: k × n, k = 1 … 3. `sign` > 0 follows the largest, otherwise the smallest.
// `most`: rows of the next round, 1 … 3. 1 is a step of power iteration with (H + sign·shift·I).
// `next`: max(most, 2) × n, of which `count` rows are filled, orthonormal to rounding of T.
template <class T>
Followed follow(std::int64_t n, std::span<const T> rows, std::span<const T> images, double sign,
                double shift, std::int64_t most, std::span<T> next);

// One end that a look follows: of S·H·S with S = diag(scale).
template <class T> struct FollowedEnd {
  double sign = 1.0, shift = 0.0;
  std::int64_t most = 2;    // rows per round
  const T *scale = nullptr; // n numbers; null: S = I
  const T *rows = nullptr;  // found.count × n, orthonormal: to multiply in the first round
  T *next = nullptr;        // max(most, 2) × n: the rows of the next round
  Followed found{0.0, 0.0, 0};
};

// What looks reuse.
template <class T> struct LookSpace {
  std::vector<T> block, images, rows;
  T *sized(std::vector<T> &vector, std::int64_t size) {
    if (std::ssize(vector) < size)
      vector.resize(static_cast<std::size_t>(size));
    return vector.data();
  }
};

// Rounds of one block product for all ends together, until every residual is at most
// accuracy·|value| or the next round would exceed `most` products; returns the products made.
// apply(rows, count, images) multiplies by H. A round whose images are not finite ends it with
// found.value = NaN.
template <class T, class Apply>
std::int64_t follow_ends(std::int64_t n, std::span<FollowedEnd<T>> ends, double accuracy,
                         std::int64_t most, LookSpace<T> &space, Apply &&apply);

// result[i][e] = rows[i][e]·scale[e], without `scale` a copy.
template <class T>
void scaled(std::int64_t n, std::int64_t count, const T *rows, const T *scale, T *result);

// Whether every number is finite.
template <class T> bool finite(const T *numbers, std::int64_t size);

// P^-½ for P = √(factor·square) + epsilon: 0 where √(factor·square) is at most epsilon or 1e-7 of
// the largest, the parameters that have had no gradient to speak of.
template <class V, class T>
void inverse_roots(std::span<const V> square, double factor, double epsilon, std::span<T> scale);

template <class T, class Apply>
std::int64_t follow_ends(std::int64_t n, std::span<FollowedEnd<T>> ends, double accuracy,
                         std::int64_t most, LookSpace<T> &space, Apply &&apply) {
  for (std::int64_t done = 0;;) {
    std::int64_t total = 0;
    for (const auto &end : ends)
      total += end.found.count;
    if (done > 0 && done + total > most)
      return done;
    T *image = space.sized(space.images, total * n);
    const T *block = ends.front().rows;
    if (ends.size() > 1 || ends.front().scale) {
      T *row = space.sized(space.block, total * n);
      block = row;
      for (const auto &end : ends) {
        scaled<T>(n, end.found.count, end.rows, end.scale, row);
        row += end.found.count * n;
      }
    }
    apply(block, total, image);
    done += total;
    bool rough = false;
    for (auto &end : ends) {
      const std::int64_t count = end.found.count;
      if (end.scale)
        scaled<T>(n, count, image, end.scale, image);
      if (!finite<T>(image, count * n)) {
        end.found.value = std::numeric_limits<double>::quiet_NaN();
        return done;
      }
      if (end.rows == end.next) { // a later round: from a copy of them
        T *rows = space.sized(space.rows, count * n);
        std::copy_n(end.next, count * n, rows);
        end.rows = rows;
      }
      const auto size = static_cast<std::size_t>(count * n);
      end.found = follow<T>(n, {end.rows, size}, {image, size}, end.sign, end.shift, end.most,
                            {end.next, static_cast<std::size_t>(std::max(end.most, kPair) * n)});
      end.rows = end.next;
      rough = rough || end.found.residual > accuracy * std::abs(end.found.value);
      image += count * n;
    }
    if (!rough)
      return done;
  }
}

} // namespace unstuck
