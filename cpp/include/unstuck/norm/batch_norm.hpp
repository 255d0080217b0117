// Batch normalisation of arrays (N, C, S): y = (x − μ_c)·r_c·γ_c + β_c, forward and backward.
//
// μ and the biased variance are over N and S, r = 1/√(variance + ε); all of them are kept in
// double. Source: Ioffe & Szegedy 1502.03167; agrees with torch.nn.BatchNorm.
#pragma once
#include <cstdint>

#include "unstuck/norm/channels.hpp"

namespace unstuck::norm {

// mean[c] and biased variance[c]: sums of x − K and (x − K)² in double, K as in origin.hpp.
template <class T> void channel_moments(Shape shape, const T *x, double *mean, double *variance);

// What is fused with the normalisation: y = max(0, x̂γ + β + residual). Null: left out.
template <class T> struct Affine {
  const T *gamma = nullptr, *beta = nullptr, *residual = nullptr;
  bool relu = false;
};

// With given statistics.
template <class T>
void batch_norm_apply(Shape shape, const T *x, const double *mean, const double *inverse_deviation,
                      Affine<T> affine, T *y);

// With those of x, which it writes to mean, variance and inverse_deviation [c].
template <class T>
void batch_norm_forward(Shape shape, double epsilon, const T *x, Affine<T> affine, double *mean,
                        double *variance, double *inverse_deviation, T *y);

// Where the parts of a gradient go; null: not wanted. d_residual may be d_y itself.
template <class T> struct Gradients {
  T *d_x = nullptr, *d_gamma = nullptr, *d_beta = nullptr, *d_residual = nullptr;
};

// `y`: the outputs if a ReLU was fused, else null. `of_batch`: mean and deviation are functions of
// x,
//   dx = rγ(δ − mean(δ) − x̂·mean(δx̂)), else constants, dx = rγδ;  dγ = Σδx̂, dβ = Σδ.
template <class T>
void batch_norm_backward(Shape shape, const T *d_y, const T *x, const T *y, const double *mean,
                         const double *inverse_deviation, const T *gamma, bool of_batch,
                         Gradients<T> gradients);

} // namespace unstuck::norm
