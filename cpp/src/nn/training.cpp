// The training loop of the core.
#include "unstuck/nn/training.hpp"

#include <algorithm>
#include <cmath>

#include "unstuck/error.hpp"

namespace unstuck::nn {
namespace {

// Refuses weights without a mean, and batches that a layer cannot be trained on.
template <class T> void check_slice(const Objective<T> &objective, Selection slice) {
  objective.denominator(slice);
  objective.network().check_batch(slice.count, true);
}

} // namespace

template <class T>
TrainingResult train(const Objective<T> &objective, T *theta, T *buffers,
                     OptimizerState<T> &optimizer, Selection order, std::int64_t batch,
                     std::span<const double> rates, double clip, double *losses, double *norms,
                     T *gradient, Workspace<T> &space, const Poll &poll) {
  TrainingResult result;
  batch = std::min(batch,
                   order.count); // a larger batch is all of them; the sum below must not overflow
  UpdateCall<T> call = optimizer.call;
  call.theta = theta;
  call.gradient = gradient;
  call.clip_norm = clip;
  const Point<T> point{theta, buffers, true};
  std::vector<std::int64_t> identity;
  if (!order.index && batch < order.count)
    for (std::int64_t i = 0; i < order.count; ++i)
      identity.push_back(i);
  const std::int64_t *index = order.index ? order.index : identity.data();
  const std::size_t slices = static_cast<std::size_t>((order.count + batch - 1) / batch);
  const auto slice = [&](std::size_t step) {
    const std::int64_t begin = static_cast<std::int64_t>(step % slices) * batch;
    return index ? Selection{index + begin, std::min(batch, order.count - begin)} : order;
  };
  for (std::size_t step = 0; step < std::min(slices, rates.size()); ++step)
    check_slice(objective, slice(step)); // before anything changes
  for (std::size_t step = 0; step < rates.size(); ++step) {
    const auto value = objective.gradient(point, slice(step), gradient, space, poll);
    const double norm = std::sqrt(value.square);
    losses[step] = value.loss;
    norms[step] = norm;
    if (!std::isfinite(value.loss) || !std::isfinite(norm)) {
      result.stop = std::isfinite(value.loss) ? Stop::gradient : Stop::loss;
      return result;
    }
    objective.update_buffers(slice(step).count, space, buffers);
    call.hyper = optimizer.hyper + step * optimizer.hyper_stride;
    call.lr = rates[step];
    call.t = optimizer.updates + 1;
    call.gradient_norm = norm;
    optimizer.update->step(call);
    objective.network().map().update_buffers(theta, buffers); // the next step's
    ++optimizer.updates;
    ++result.done;
  }
  return result;
}

template TrainingResult train<float>(const Objective<float> &, float *, float *,
                                     OptimizerState<float> &, Selection, std::int64_t,
                                     std::span<const double>, double, double *, double *, float *,
                                     Workspace<float> &, const Poll &);
template TrainingResult train<double>(const Objective<double> &, double *, double *,
                                      OptimizerState<double> &, Selection, std::int64_t,
                                      std::span<const double>, double, double *, double *, double *,
                                      Workspace<double> &, const Poll &);

} // namespace unstuck::nn
