// Lanczos with three vectors and no basis: for operators of which not even sixteen vectors fit.
//
// Without reorthogonalisation T holds copies of converged eigenvalues, so that its Ritz values say
// nothing about multiplicities; its ends and the certificate remain right (A. Greenbaum, Linear
// Algebra Appl. 113 (1989), 7–63: T is that of an exact run on an operator whose eigenvalues are
// clusters around those of H). A Ritz vector takes a second run from the same start.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "unstuck/krylov/certificate.hpp"
#include "unstuck/krylov/tridiagonal.hpp"

namespace unstuck {

template <class T> class ThreeTermLanczos {
public:
  // `start`: n independent Gaussian numbers.
  ThreeTermLanczos(std::int64_t n, std::span<const T> start);

  std::int64_t n() const { return static_cast<std::int64_t>(current_.size()); }
  std::int64_t steps() const { return static_cast<std::int64_t>(alpha_.size()); }
  // The unit vector to multiply; the same until push. Needs not exhausted().
  std::span<const T> next();
  // Takes w = H·next(). A product that is not finite is refused and may be pushed again.
  void push(std::span<const T> w);

  // The residual is rounding: nothing to continue from.
  bool exhausted() const { return exhausted_; }
  std::span<const double> alpha() const { return alpha_; }
  std::span<const double> beta() const { return beta_; }
  double largest_product() const { return largest_product_; } // max‖H·v_j‖ ≤ ‖H‖
  Recurrence recurrence() const { return {alpha_, beta_, n()}; }
  Tridiagonal tridiagonal() const { return {alpha_, beta_}; }

private:
  void scale(double factor); // current_ ← current_·factor

  std::vector<T> previous_, current_; // v_{j−1} and v_j; after push v_j and the residual
  std::vector<double> alpha_, beta_;
  double residual_norm_ = 0.0;
  double largest_product_ = 0.0;
  bool pending_ = false, exhausted_ = false;
};

} // namespace unstuck
