// Layer, group, instance and root-mean-square normalisation: every run of consecutive elements has
// its own statistics.
//
// An array (N, C, S) is R = N·groups rows of L = C/groups·S elements; channel c has γ_c and β_c.
//   y = (x − μ_row)·r_row·γ_c + β_c,  r = 1/√(variance + ε);  root mean square: μ = 0, r =
//   1/√(mean(x²) + ε)
// Sources: 1607.06450 (layer), 1803.08494 (group), 1607.08022 (instance), 1910.07467 (root mean
// square); agrees with torch.nn.functional.
#pragma once
#include <cstdint>

#include "unstuck/norm/batch_norm.hpp"

namespace unstuck::norm {

struct Rows {
  Shape shape;
  std::int64_t groups = 1;
  bool centered = true; // false: root mean square

  std::int64_t count() const { return shape.samples * groups; }
  std::int64_t channels() const { return shape.channels / groups; }
  std::int64_t length() const { return channels() * shape.spatial; }
};

// mean and inverse_deviation: [count()] doubles, for the backward pass.
template <class T>
void row_norm_forward(Rows rows, double epsilon, const T *x, const T *gamma, const T *beta, T *y,
                      double *mean, double *inverse_deviation);

// dx = r(δγ − mean(δγ) − x̂·mean(δγx̂)), without the first mean if not centred;  dγ = Σδx̂, dβ = Σδ.
template <class T>
void row_norm_backward(Rows rows, const T *d_y, const T *x, const double *mean,
                       const double *inverse_deviation, const T *gamma, Gradients<T> gradients);

} // namespace unstuck::norm
