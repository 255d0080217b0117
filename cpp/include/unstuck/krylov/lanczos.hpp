// Lanczos tridiagonalisation of a symmetric operator by reverse communication, with full
// reorthogonalisation, in bounded memory by thick restarts.
//
//   while (more) { state.next() → v;  w = H·v;  state.push(w);
//                  if (full) state.compress(restart_split(state.ritz_values(), 1)); }
//
// keeps H·V = V·T + r·e_kᵀ with VᵀV = I to the rounding of the storage type T; α, β and every inner
// product are float64. Before a compression T is tridiagonal, afterwards it begins with an arrow
// (projection.hpp).
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "unstuck/krylov/basis.hpp"
#include "unstuck/krylov/certificate.hpp"
#include "unstuck/krylov/operator.hpp"
#include "unstuck/krylov/projection.hpp"
#include "unstuck/krylov/split.hpp"

namespace unstuck {

template <class T> class Lanczos {
public:
  // `start`: n independent Gaussian numbers (any other non-zero vector loses the certificate).
  // `capacity`: most vectors stored, those of `locked` not counted. `locked`: rows of n numbers;
  // the run stays orthogonal to them, T is then of P·H·P, P = I − (projection on them).
  Lanczos(std::int64_t n, std::int64_t capacity, std::span<const double> start,
          std::span<const double> locked = {});

  std::int64_t n() const { return basis_.n(); }
  std::int64_t locked() const { return locked_; }
  std::int64_t dimension() const { return n() - locked_; } // of the space that is searched
  std::int64_t capacity() const { return basis_.capacity() - locked_; }
  std::int64_t steps() const { return projection_.size(); } // vectors multiplied and stored

  // The unit vector to multiply; the same until push. Needs steps() < capacity() and not
  // exhausted().
  std::span<const T> next();

  // Takes w = H·next(). A product that is not finite is refused and may be pushed again.
  void push(std::span<const float> w);
  void push(std::span<const double> w);

  // The last residual is rounding: β ≤ 10·ε·√k·max‖Hv‖, ε of T. The space of this run is then
  // invariant to that level.
  bool invariant() const { return invariant_; }
  // Nothing to continue from: the residual is below a tenth of the rounding, or the whole space is
  // spanned.
  bool exhausted() const { return exhausted_; }

  // Continues an invariant run from a fresh Gaussian vector made orthogonal to everything: finds
  // further copies of multiple eigenvalues and parts that v₁ cannot reach. T becomes block
  // diagonal.
  void restart(std::span<const double> start);

  // Thick restart: keeps the Ritz pairs of both ends, gives up the others, and goes on from the
  // residual. At least one pair must be kept. Strong guarantee.
  void compress(Split kept);

  void raise_capacity(std::int64_t capacity) { basis_.raise_capacity(capacity + locked_); }

  // The diagonal of T: kept Ritz values, then α of the steps since.
  std::span<const double> alpha() const { return projection_.alpha(); }
  // beta[j] couples steps j and j+1, the last is the residual norm; never below half an ε of
  // max‖Hv‖, except 0 when the whole space is spanned. Where a run ended (restarts), it is the
  // neglected residual and T's coupling is 0; for kept pairs it is 0.
  std::span<const double> beta() const { return projection_.beta(); }
  std::span<const std::int64_t> restarts() const { return projection_.restarts(); }
  const Projection &projection() const { return projection_; }
  std::span<const T> basis_vector(std::int64_t i) const;
  double largest_product() const { return largest_product_; } // max‖H·v_j‖ ≤ ‖H‖
  // max over j of ‖(v_iᵀHv_j − T_ij) for i < j‖: only rounding for a symmetric operator, since T_ij
  // is v_jᵀHv_i.
  double asymmetry() const { return asymmetry_; }

  // At most the smallest, at least the largest eigenvalue, each with probability ≥ 1 − δ; across
  // compressions and restarts.
  double lower_bound(double delta) const { return projection_.lower_bound(delta); }
  double upper_bound(double delta) const { return projection_.upper_bound(delta); }

  std::int64_t count_below(double x) const { return projection_.count_below(x); }
  std::span<const double> ritz_values() const; // ascending
  std::span<const double>
  residuals() const; // ‖H·y_i − θ_i·y_i‖ ≤ this, from β and the eigenvectors of T
  // Unit Ritz vectors of ritz_values()[indices[q]] into rows[q·n …].
  void ritz_vectors(std::span<const std::int64_t> indices, std::span<double> rows) const;

private:
  struct Ritz {
    std::vector<double> values, residuals;
  };
  const Ritz &ritz() const;
  void forget_ritz() {
    ritz_.reset();
    pairs_.reset();
  }
  void set_residual(std::span<const double> start, const char *name);
  void orthogonalise_product();
  double measured_asymmetry(int exponent) const;
  void commit(double alpha, double residual);

  Basis<T> basis_; // the locked vectors, then v_1 … v_k
  std::int64_t locked_ = 0;
  Projection projection_;
  std::vector<double> residual_;     // r of the last step, or the start, times a power of two
  std::vector<double> coefficients_; // of the present product in the basis
  double residual_norm_ = 0.0;       // of residual_ as stored
  double largest_product_ = 0.0, asymmetry_ = 0.0;
  bool pending_ = false, invariant_ = false, exhausted_ = false;
  mutable std::optional<Ritz> ritz_;
  mutable std::optional<std::vector<RitzPair>> pairs_; // vectors may be asked for in batches
};

// Runs until `stop(state)` holds, the run is exhausted or `most_products` are used; a full basis is
// compressed around the `wanted` smallest Ritz values.
template <class T, SymmetricOperator<T> Op, class Stop>
void iterate(Lanczos<T> &state, Op &&op, Stop &&stop, std::int64_t most_products,
             std::int64_t wanted = 1) {
  std::vector<T> product(static_cast<std::size_t>(state.n()));
  for (std::int64_t i = 0; i < most_products && !state.exhausted() && !stop(state); ++i) {
    if (state.steps() == state.capacity())
      state.compress(restart_split(state.ritz_values(), wanted));
    op(state.next(), std::span<T>(product));
    state.push(std::span<const T>(product));
  }
}

} // namespace unstuck
