// Symmetric matrices whose leading diagonal part is coupled to the next row alone, followed by a
// tridiagonal part: what a thick restart leaves behind. Count below a number, eigenproblem.
#pragma once
#include <cstdint>
#include <span>

#include "unstuck/krylov/tridiagonal.hpp"

namespace unstuck {

// spikes[i] couples row i < head = spikes.size() to row head; coupling[i] couples rows i and i+1
// for i ≥ head and is ignored below. Without a row `head` the matrix is diagonal.
struct Arrow {
  std::span<const double> diagonal;
  std::span<const double> coupling;
  std::span<const double> spikes = {};

  std::int64_t size() const { return static_cast<std::int64_t>(diagonal.size()); }
};

// Number of eigenvalues < x, O(size): pivots of L·D·Lᵀ from the top. Needs finite entries.
std::int64_t count_below(const Arrow &a, double x);

// Eigenvalues, and the entries `rows` of every eigenvector: as for a tridiagonal matrix when there
// are no spikes, else dense, O(size³).
TridiagonalEigen eigen(const Arrow &a, std::span<const std::int64_t> rows);

} // namespace unstuck
