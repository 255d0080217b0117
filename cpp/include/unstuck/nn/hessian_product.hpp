// Exact Hessian products by Pearlmutter's R-operator on top of a primal pass that is kept while it
// fits.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "unstuck/nn/objective.hpp"

namespace unstuck::nn {

// How the memory of a HessianProduct is spent.
struct HessianPlan {
  bool cached = false;         // the primal pass is kept: 6 matrix products per inner layer, else 8
  bool tiles = false;          // see Plan
  std::int64_t bytes = 0;      // held for the life of the operator
  std::int64_t chunk_rows = 0; // samples in work at once
  std::int64_t minimum = 0;    // bytes without which no product is possible
};

// Which curvature of the mean loss L = Σ wᵢ·ℓ(zᵢ), with J = ∂z/∂θ, is multiplied; l2·I is added to
// each.
enum class Curvature {
  hessian,      // ∂²L/∂θ²
  gauss_newton, // Σ wᵢ·Jᵢᵀ(∂²ℓ/∂z²)Jᵢ: 4 matrix products per inner layer, never negative
  fisher        // Σ wᵢ·gᵢgᵢᵀ with gᵢ = Jᵢᵀ∂ℓ/∂z, the empirical Fisher matrix
};

// H·v of an objective at a copy of θ and of the selected indices. Products are the same to the bit
// for any number of threads and for a vector alone or within a block.
template <class T> class HessianProduct {
public:
  // Throws ArgumentError when even the uncached plan exceeds `memory_budget` bytes.
  HessianProduct(const Objective<T> &objective, Point<T> point, Selection selection,
                 std::int64_t memory_budget, const Poll &poll, Curvature kind = Curvature::hessian);

  // products (count × n) = rows of `vectors` (count × n) times H; not to be called from two threads
  // at once.
  void apply(const T *vectors, std::int64_t count, T *products, const Poll &poll);

  const HessianPlan &plan() const { return report_; }
  std::int64_t size() const { return objective_.network().size(); }

private:
  struct Slot {
    Tape<T> tape; // only when the primal pass is not kept
    Gathered<T> gathered;
    TangentTape<T> tangent;
  };
  struct Kept {
    Tape<T> tape;
    Gathered<T> gathered;
    Rows<T> rows;
  };

  void primal(Team team, Plan::Range range, Tape<T> &tape, const Rows<T> &rows) const;
  void add_product(Team team, Plan::Range range, const Tape<T> &tape, const Rows<T> &rows,
                   const T *v, TangentTape<T> &tangent, T *product) const;
  void outer_product(std::int64_t rows, const Targets<T> &targets, const T *delta, const T *r_z,
                     T *r_delta) const;
  void keep_primal(const Poll &poll);
  void apply_block(const T *vectors, std::int64_t count, T *products, const Poll &poll);
  void apply_mapped(const T *vectors, std::int64_t count, T *products, const Poll &poll);
  void multiply(const T *vectors, std::int64_t count, T *products, double l2, const Poll &poll);
  void differentiate_weights(const Poll &poll);
  void prepare_slots();
  bool mapped() const { return !objective_.network().map().identity(); }
  const T *weights() const { return mapped() ? weights_.data() : theta_.data(); } // ω
  Point<T> point() const { return {weights(), buffers_.data(), training_}; }
  Team team(const Poll &poll, Plan::Range range) const {
    return {plan_.tiles, &poll, training_, range.begin};
  }
  Selection selection() const { return {index_.empty() ? nullptr : index_.data(), plan_.rows}; }

  const Objective<T> &objective_;
  Curvature kind_;
  std::vector<T> theta_, buffers_;
  AlignedVector<T> weights_, d_weights_;     // ω and ∂L/∂ω, where ω is not θ
  AlignedVector<T> r_weights_, r_d_weights_; // of the vectors of one block
  std::optional<SpectralCurvature<T>> spectral_;
  bool training_;
  std::vector<std::int64_t> index_;
  Plan plan_;
  HessianPlan report_;
  double denominator_;
  std::int64_t part_bytes_; // for the products of one block
  std::vector<Kept> kept_;  // [group · chunks_per_group + chunk]
  std::vector<Slot> slots_;
  std::vector<T> parts_; // [group][vector][n]
};

} // namespace unstuck::nn
