// The spectral-norm regulariser λ/2·Σ σ(W)² over a network's weight matrices (1705.10941), with
// exact derivatives of both orders where the largest singular value is simple.
//
// With σ = uᵀWv:  ∂W = σ·uvᵀ,  R∂W = σ̇·uvᵀ + σ(u̇vᵀ + uv̇ᵀ),  σ̇ = uᵀẆv, and u̇ ⟂ u, v̇ ⟂ v from
//   (σ²I − WWᵀ)u̇ = σ(Ẇv − σ̇u) + W(Ẇᵀu − σ̇v),   σv̇ = Ẇᵀu − σ̇v + Wᵀu̇
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "unstuck/nn/network.hpp"
#include "unstuck/nn/team.hpp"

namespace unstuck::nn {

template <class T> class SpectralPenalty {
public:
  SpectralPenalty(double strength, std::vector<WeightMatrix> matrices);

  double strength() const { return strength_; }
  const std::vector<WeightMatrix> &matrices() const { return matrices_; }

  // The penalty at ω; adds its gradient unless null. NaN where a weight is not finite. What `poll`
  // throws ends it.
  double add_gradient(const T *omega, T *gradient, const Poll &poll) const;

private:
  double strength_;
  std::vector<WeightMatrix> matrices_;
};

// The second derivative of a penalty at ω.
template <class T> class SpectralCurvature {
public:
  // Throws ArgumentError where a largest singular value is not simple to 1e-6, or 0.
  SpectralCurvature(const SpectralPenalty<T> &penalty, const T *omega, const Poll &poll);
  ~SpectralCurvature();

  void add_product(const T *v, T *product) const;

  static std::int64_t bytes(const SpectralPenalty<T> &penalty);

private:
  struct Factor;
  std::vector<std::unique_ptr<Factor>> factors_;
  double strength_;
};

} // namespace unstuck::nn
