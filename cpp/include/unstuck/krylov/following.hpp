// One round of following an end of a slowly changing spectrum: Rayleigh–Ritz on a few vectors, and
// the vectors to multiply next.
//
// From orthonormal rows x_i and their products H·x_i: the best unit vector u of their span, its
// residual r = H·u − θ·u (the direction in which the quotient rises fastest), and the move p that
// this round added to the old u. Source: A. V. Knyazev, LOBPCG, SIAM J. Sci. Comput. 23 (2001),
// 517–541.
#pragma once
#include <cstdint>
#include <span>

namespace unstuck {

inline constexpr std::int64_t kMostFollowed = 3; // rows per round

struct Followed {
  double value;       // uᵀHu/uᵀu
  double residual;    // ‖Hu − value·u‖/‖u‖
  std::int64_t count; // rows of the next round: u, r and p, as far as they are independent
};

// `rows` and `images`: k × n, k = 1 … 3. `sign` > 0 follows the largest, otherwise the smallest.
// `next`: `most` × n, 2 or 3 rows, of which `count` are filled, orthonormal to rounding of T.
template <class T>
Followed follow(std::int64_t n, std::span<const T> rows, std::span<const T> images, double sign,
                std::int64_t most, std::span<T> next);

} // namespace unstuck
