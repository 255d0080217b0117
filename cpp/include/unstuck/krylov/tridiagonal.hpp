// Symmetric tridiagonal matrices: eigenvalues below a number by Sturm's count, and the eigenproblem
// by implicit QL.
//
// Entries may span 1e-300 … 1e300 and be zero: all work is done on a copy scaled by a power of two.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace unstuck {

// The matrix with diagonal[i] on the diagonal and coupling[i] between i and i+1 (k-1 couplings;
// more are ignored).
struct Tridiagonal {
  std::span<const double> diagonal;
  std::span<const double> coupling;

  std::int64_t size() const { return static_cast<std::int64_t>(diagonal.size()); }
};

// The exponent e for which 2^-e times the largest |entry| lies in [1/2, 1); 0 for the zero matrix,
// at least −1000.
int scale_exponent(const Tridiagonal &t);

// Number of eigenvalues < x (pivots of T − xI = L·D·Lᵀ; Sylvester's law of inertia). Needs finite
// entries.
std::int64_t count_below(const Tridiagonal &t, double x);

// The i-th smallest eigenvalue (i from 0) to within 4 units in the last place of ‖T‖, by bisection
// on count_below.
double eigenvalue(const Tridiagonal &t, std::int64_t i);

struct TridiagonalEigen {
  std::vector<double> values; // ascending
  std::vector<double>
      components; // components[i·rows + r]: entry rows[r] of the i-th unit eigenvector
};

// Eigenvalues, and the entries `rows` of every eigenvector: O(k²·(1 + rows/8)).
// Source: implicit QL with Wilkinson's shift (Bowdler, Martin, Reinsch, Wilkinson, Numer. Math. 11,
// 1968).
TridiagonalEigen eigen(const Tridiagonal &t, std::span<const std::int64_t> rows);

} // namespace unstuck
