// The memory of the passes over a network: one block each, planned once.
#include "unstuck/nn/network.hpp"

#include "unstuck/error.hpp"

namespace unstuck::nn {

template <class T>
std::int64_t Tape<T>::per_row(const Network<T> &network, Keep keep, std::int64_t loss_per_row) {
  std::int64_t sum = network.width();
  for (std::size_t i = 0; i < network.depth() && keep != Keep::outputs; ++i) {
    sum += network.layer(i).slope_per_row();
    if (keep == Keep::curvature)
      sum += network.layer(i).bend_per_row();
  }
  return keep == Keep::outputs ? sum : sum + network.width() + network.waiting() + loss_per_row;
}

template <class T> std::int64_t Tape<T>::per_pass(const Network<T> &network) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < network.depth(); ++i)
    sum += network.layer(i).slope_per_pass();
  return sum;
}

template <class T>
Tape<T>::Tape(const Network<T> &network, std::int64_t row_count, Keep keep,
              std::int64_t loss_per_row)
    : memory(static_cast<std::size_t>(
          product(row_count, per_row(network, keep, loss_per_row), "a pass") + per_pass(network) +
          static_cast<std::int64_t>(4 * network.depth() + 2) * aligned_size<T>(1))),
      rows(row_count) {
  T *next = memory.data();
  const auto take = [&](std::int64_t per_row, bool wanted, std::int64_t besides = 0) {
    const std::int64_t size = (wanted ? per_row * row_count : 0) + besides;
    T *here = size > 0 ? next : nullptr;
    next += aligned_size<T>(size);
    return here;
  };
  for (std::size_t i = 0; i < network.depth(); ++i) {
    const Layer<T> &layer = network.layer(i);
    h.push_back(take(layer.outputs(), true));
    slope.push_back(take(layer.slope_per_row(), keep != Keep::outputs, layer.slope_per_pass()));
    delta.push_back(take(layer.outputs(), keep != Keep::outputs));
    bend.push_back(take(layer.bend_per_row(), keep == Keep::curvature));
  }
  loss = take(loss_per_row, keep == Keep::curvature);
  waiting = take(network.waiting(), keep != Keep::outputs);
}

template <class T> std::int64_t TangentTape<T>::per_row(const Network<T> &network) {
  std::int64_t sum = network.width() + network.waiting();
  for (const std::int64_t width : network.slots())
    sum += width;
  return sum;
}

template <class T>
TangentTape<T>::TangentTape(const Network<T> &network, std::int64_t rows)
    : memory(static_cast<std::size_t>(
          product(rows, per_row(network), "a tangent pass") +
          static_cast<std::int64_t>(network.depth() + network.slots().size() + 1) *
              aligned_size<T>(1))) {
  T *next = memory.data();
  const auto take = [&](std::int64_t per_row) {
    T *here = next;
    next += aligned_size<T>(rows * per_row);
    return here;
  };
  for (std::size_t i = 0; i < network.depth(); ++i)
    r_h.push_back(take(network.layer(i).outputs()));
  std::vector<T *> buffers;
  for (const std::int64_t width : network.slots())
    buffers.push_back(take(width));
  for (std::size_t i = 0; i < network.depth(); ++i)
    r_delta.push_back(network.live(i) ? buffers[network.slot(i)] : nullptr);
  waiting = take(network.waiting());
}

template struct Tape<float>;
template struct Tape<double>;
template struct TangentTape<float>;
template struct TangentTape<double>;

} // namespace unstuck::nn
