// Stochastic Lanczos quadrature: three-term recurrences of several probes in lock-step, without a
// stored basis, and the Gauss and Gauss–Radau rules of the spectral measures they belong to.
//
// A unit vector v defines the measure Ψ(x) = Σ_{λ_i ≤ x} ⟨v, u_i⟩² of total mass 1. k steps give
// the Gauss rule with k nodes. The rule with k+1 nodes of which one is x bounds the distribution at
// x as tightly as the moments allow (Chebyshev–Markov–Stieltjes):
//   Σ_{θ_j < x} ω_j ≤ Ψ(x⁻) ≤ Ψ(x) ≤ Σ_{θ_j ≤ x} ω_j.
// Without reorthogonalisation converged eigenvalues appear several times, their weights shared: the
// rules stay those of a measure within rounding of the true one (Knizhnerman 1996; Greenbaum 1989).
// Sources: Golub, Meurant, Matrices, Moments and Quadrature (2010); Chen, Trogdon, Ubaru, arXiv
// 2105.06595.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "unstuck/krylov/tridiagonal.hpp"

namespace unstuck {

//   while (more) { state.next() → V (probes × n);  W = V·H;  state.push(W); }
template <class T> class ProbeLanczos {
public:
  // `starts`: rows of n numbers, none of them zero; they are scaled to length 1.
  ProbeLanczos(std::int64_t n, std::int64_t probes, std::span<const T> starts);

  std::int64_t n() const { return n_; }
  std::int64_t probes() const { return static_cast<std::int64_t>(runs_.size()); }
  std::int64_t steps() const { return steps_; }
  // Every probe's Krylov space is used up to rounding: its measure is known.
  bool exhausted() const;

  // The unit vectors to multiply, probes × n; zero for a probe that is exhausted.
  std::span<const T> next() const { return v_; }

  // Takes the products of next(). Products that are not finite are refused and may be pushed again.
  void push(std::span<const T> w);

  // Of one probe, as many as it made steps; beta[j] couples steps j and j+1, the last is the
  // residual, 0 if exhausted.
  std::span<const double> alpha(std::int64_t probe) const;
  std::span<const double> beta(std::int64_t probe) const;

  double largest_product() const { return largest_product_; } // max‖H·v‖ ≤ ‖H‖
  // max|v_{j−1}ᵀHv_j − v_jᵀHv_{j−1}|: rounding for a symmetric operator.
  double asymmetry() const { return asymmetry_; }

private:
  struct Run {
    std::vector<double> alpha, beta;
    bool exhausted = false;
  };
  // inner products of one probe's product: with v, with the previous v, with itself
  struct Inner {
    double with_v, with_previous, square;
  };
  Inner inner(std::int64_t probe, std::span<const T> w) const;
  void advance(std::int64_t probe, std::span<const T> w, const Inner &inner);

  std::int64_t n_, steps_ = 0;
  std::vector<T> v_, previous_;
  std::vector<Run> runs_;
  double largest_product_ = 0.0, asymmetry_ = 0.0;
};

struct GaussRule {
  std::vector<double> nodes, weights; // ascending; the weights sum to 1
};

GaussRule gauss(const Tridiagonal &t);

// k+1 nodes, one of them x. `t` holds k steps with k couplings, the last to the step after them.
GaussRule gauss_radau(const Tridiagonal &t, double x);

// Bounds of the distribution at x: `lower` ≤ Ψ(x⁻) ≤ Ψ(x) ≤ `upper`; exact where the last coupling
// is 0.
struct Bounds {
  double lower, upper;
};
Bounds chebyshev_markov(const Tridiagonal &t, double x);

} // namespace unstuck
