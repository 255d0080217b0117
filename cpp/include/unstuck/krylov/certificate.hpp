// A-posteriori bounds of both ends of a spectrum from the Lanczos recurrence of a Gaussian start.
//
// The orthonormal Lanczos polynomials p_0 = 1, β_{j+1} p_j(x) = (x − α_j) p_{j−1}(x) − β_j
// p_{j−2}(x) satisfy
//   Σ_i γ_i² p_k(λ_i)² = 1  with  γ_i = ⟨v₁, u_i⟩,   hence   |p_k(λ_min)| ≤ 1/|γ_1|.
// v₁ is uniform on the sphere, so P(|γ_1| < t_δ) ≤ δ for t_δ = δ·√(π/(2(n−1))), n ≥ 3 (the density
// of γ_1 at 0 is Γ(n/2)/(√π Γ((n−1)/2)) ≤ √((n−1)/2π)). |p_k| decreases up to the smallest Ritz
// value: the x left of it with |p_k(x)| = 1/t_δ bounds λ_min from below. The event does not depend
// on k: the bound may be read at every step, and the run stopped whenever wished, all at one δ; the
// best bound of all steps holds as well. Source: after van Dorsselaer, Hochstenbach, van der Vorst,
// SIAM J. Matrix Anal. Appl. 22 (2000), 837–852.
//
// Restarts. A run that has exhausted its Krylov space goes on from a fresh Gaussian vector of the
// orthogonal complement, of dimension n_i. Run i bounds its own overlap: U_i = |γ_i|·√(2(n_i−1)/π)
// is stochastically at least uniform, and the U_i are independent. So Σ_i
// ln⁺(|p^{(i)}(x)|·√(π/(2(n_i−1)))) is at most a sum of r exponential variables at x = λ_min:
// Fisher's combination with Gamma(r) quantiles. r runs get the level δ·2^{1−r}/(8(n−1)) for r ≥ 2,
// which fits into the slack of t_δ (Kershaw: Γ(z+½)/Γ(z) < √(z − 0.134)), so that δ holds for all r
// and k together. The neglected couplings (β at the restarts) widen the bound by their sum (Weyl).
//
// All of this is exact arithmetic for the operator that the recurrence belongs to; rounding of
// products and basis moves that operator by its own norm, which the caller adds as noise.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace unstuck {

// α_j and β_j of k steps: beta[j] couples v_j and v_{j+1}, beta[k−1] is the norm of the last
// residual. `restarts`: ascending step numbers in (0, k) at which a fresh vector started; beta just
// before it is neglected.
struct Recurrence {
  std::span<const double> alpha;
  std::span<const double> beta;
  std::int64_t n; // dimension of the space that v₁ is uniform in
  std::span<const std::int64_t> restarts = {};
};

// ln t_δ; for n = 2, where P(|γ| < t) = (2/π)·asin t ≤ t, t_δ = δ; for n = 1, t = 1.
double log_t(std::int64_t n, double delta);

// A number that is ≤ λ_min with probability ≥ 1 − δ; −∞ without a step; exact (probability 1) when
// k = n.
double certificate_lower(const Recurrence &recurrence, double delta);

// A number that is ≥ λ_max with probability ≥ 1 − δ. For both ends together give δ/2 to each.
double certificate_upper(const Recurrence &recurrence, double delta);

// Further steps until certificate_lower ≥ target, from the present growth of ln|p_k(target)| per
// step: 0 when it holds already, −1 when it cannot (target ≥ smallest Ritz value) or no growth is
// seen yet. Far too many while outliers are still being resolved; within a factor of two once the
// bulk is.
std::int64_t predicted_steps(const Recurrence &recurrence, double delta, double target);

// The polynomial p of one run's residual, p(H)·v₁: all roots and ∏β = 1/(leading coefficient). The
// same number of roots and β; all β are positive, but the last may be 0.
struct ResidualPolynomial {
  std::vector<double> roots, beta;
  std::int64_t dimension; // of the space that the run's start was drawn in
};

// The same bounds from the polynomials of a thick-restarted run, in the order of their starts:
//   ln|p(x)| = Σ ln|x − root| − Σ ln β.
// Each run's last β but that of the last is neglected. Without a polynomial: ∓∞.
double certificate_lower(std::span<const ResidualPolynomial> runs, double delta);
double certificate_upper(std::span<const ResidualPolynomial> runs, double delta);

// Further steps from the growth of the last run's ln|p(target)| since it was `earlier`.
std::int64_t predicted_steps(std::span<const ResidualPolynomial> runs,
                             const ResidualPolynomial &earlier, double delta, double target);

// The Σ ln⁺ that `runs` runs, the first in dimension n, must reach: −ln t_δ for one, else Fisher's.
double needed_evidence(std::int64_t n, std::int64_t runs, double delta);

} // namespace unstuck
