// Parametrizations: a layer's weight as a function of parameters that stand in its place.
//
// Layers read ω = Φ(θ). For one weight W = Φ(θ): θ are the parameters in its place, ŵ = ∂L/∂W, and
// R is the derivative along v in parameter space:
//   ∂L/∂θ = Φ'(θ)ᵀŵ,   RW = Φ'(θ)v,   R{∂L/∂θ} = Φ'(θ)ᵀRŵ + (R{Φ'(θ)ᵀ})ŵ
// Buffers are constants of every derivative.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "unstuck/nn/layer.hpp"

namespace unstuck::nn {

// Of one weight. All passes overwrite their result, and use all threads with the same bits for any
// number of them.
template <class T> class Parametrization {
public:
  virtual ~Parametrization() = default;

  // What stands in place of the weight, one after the other, and what training changes besides.
  virtual std::vector<ParameterShape> parameters() const = 0;
  virtual std::vector<typename Layer<T>::Buffer> buffers() const { return {}; }

  virtual void weight(const T *theta, const T *buffers, T *weight) const = 0;
  virtual void gradient(const T *theta, const T *buffers, const T *d_weight, T *gradient) const = 0;
  virtual void tangent(const T *theta, const T *buffers, const T *v, T *r_weight) const = 0;
  virtual void product(const T *theta, const T *buffers, const T *v, const T *d_weight,
                       const T *r_d_weight, T *product) const = 0;

  // After θ has moved in training.
  virtual void update_buffers(const T *, T *) const {}
};

// Kinds: WeightNorm {dim; −1: one norm of all}, SpectralNorm {iterations, eps}; of a weight
// of at least two axes.
template <class T>
std::unique_ptr<Parametrization<T>> make_parametrization(const LayerSpec &spec,
                                                         const ParameterShape &weight);

template <class T>
std::unique_ptr<Parametrization<T>> make_weight_norm(const LayerSpec &spec,
                                                     const ParameterShape &weight);
template <class T>
std::unique_ptr<Parametrization<T>> make_spectral_norm(const LayerSpec &spec,
                                                       const ParameterShape &weight);

// ω of a whole network: parametrized weights, and copies of everything else.
template <class T> class WeightMap {
public:
  // `size` entries of θ at `parameters` are those of ω at `weights`.
  void copy(std::int64_t parameters, std::int64_t weights, std::int64_t size);
  void add(std::unique_ptr<Parametrization<T>> parametrization, std::int64_t parameters,
           std::int64_t weights, std::int64_t buffers);

  bool identity() const { return pieces_.empty(); } // ω is θ; the passes below are for others

  void weights(const T *theta, const T *buffers, T *omega) const;
  void gradient(const T *theta, const T *buffers, const T *d_omega, T *gradient) const;
  void tangent(const T *theta, const T *buffers, const T *v, T *r_omega) const;
  void product(const T *theta, const T *buffers, const T *v, const T *d_omega, const T *r_d_omega,
               T *product) const;
  void update_buffers(const T *theta, T *buffers) const;

private:
  struct Copy {
    std::int64_t parameters, weights, size;
  };
  struct Piece {
    std::unique_ptr<Parametrization<T>> parametrization;
    std::int64_t parameters, weights, buffers;
  };
  std::vector<Copy> copies_;
  std::vector<Piece> pieces_;
};

} // namespace unstuck::nn
