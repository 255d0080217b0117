// Training: consecutive mini-batch steps (gather, forward, backward, update) without leaving the
// core.
#pragma once
#include <cstdint>
#include <span>

#include "unstuck/nn/objective.hpp"
#include "unstuck/optim/update.hpp"

namespace unstuck::nn {

// The optimizer as the training loop sees it; `updates` counts the updates done so far. `hyper` is
// that of the first step; the next step's begins `hyper_stride` numbers later (0: the same). `call`
// brings the slots and the moving average.
template <class T> struct OptimizerState {
  Update<T> *update;
  const double *hyper;
  std::size_t hyper_stride;
  UpdateCall<T> call;
  std::int64_t updates;
};

enum class Stop {
  none,
  loss,
  gradient
}; // why training stopped before its last step: what was not finite

struct TrainingResult {
  std::int64_t done = 0; // steps whose update was applied
  Stop stop = Stop::none;
};

// One step per entry of `rates`, on consecutive slices of `batch` entries of `order` (null: 0 …
// rows−1 in order); the last slice may be shorter, and the first follows it. Before an update the
// loss and gradient norm at the old θ are written to `losses` and `norms`. A step whose loss or
// norm is not finite changes nothing and ends the run; every other one updates `buffers`, too. clip
// > 0 scales gradients of norm above it to that norm.
template <class T>
TrainingResult train(const Objective<T> &objective, T *theta, T *buffers,
                     OptimizerState<T> &optimizer, Selection order, std::int64_t batch,
                     std::span<const double> rates, double clip, double *losses, double *norms,
                     T *gradient, Workspace<T> &space, const Poll &poll);

} // namespace unstuck::nn
