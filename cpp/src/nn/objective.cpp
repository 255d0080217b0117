// Loss and gradient over many samples by either schedule.
#include "unstuck/nn/objective.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "unstuck/error.hpp"

namespace unstuck::nn {
namespace {

constexpr std::int64_t kRange = 4096; // elements of θ per piece of a reduction

} // namespace

template <class T>
void Gathered<T>::reserve(std::int64_t rows, std::int64_t inputs, std::int64_t outputs,
                          const Data<T> &data) {
  const auto grow = [](auto &vector, std::int64_t size) {
    if (static_cast<std::int64_t>(vector.size()) < size)
      vector.resize(static_cast<std::size_t>(size));
  };
  grow(x, rows * inputs);
  grow(value, data.targets.value ? rows * outputs : 0);
  grow(label, data.targets.label ? rows : 0);
  grow(weight, data.targets.weight ? rows : 0);
}

template <class T>
Rows<T> Gathered<T>::fill(const Data<T> &data, Selection selection, Plan::Range range,
                          std::int64_t inputs, std::int64_t outputs) {
  const Targets<T> &t = data.targets;
  const std::int64_t b = range.begin;
  if (!selection.index)
    return {data.x + b * inputs,
            {t.label ? t.label + b : nullptr, t.value ? t.value + b * outputs : nullptr,
             t.weight ? t.weight + b : nullptr}};
  for (std::int64_t i = 0; i < range.count; ++i) {
    const std::int64_t row = selection.index[b + i];
    std::copy_n(data.x + row * inputs, inputs, x.data() + i * inputs);
    if (t.label)
      label[static_cast<std::size_t>(i)] = t.label[row];
    if (t.value)
      std::copy_n(t.value + row * outputs, outputs, value.data() + i * outputs);
    if (t.weight)
      weight[static_cast<std::size_t>(i)] = t.weight[row];
  }
  return {x.data(),
          {t.label ? label.data() : nullptr, t.value ? value.data() : nullptr,
           t.weight ? weight.data() : nullptr}};
}

template <class T>
Objective<T>::Objective(std::shared_ptr<const Network<T>> network,
                        std::shared_ptr<const Loss<T>> loss, Data<T> data, double l2,
                        double spectral)
    : network_(std::move(network)), loss_(std::move(loss)), data_(data), l2_(l2) {
  if (spectral != 0.0)
    spectral_.emplace(spectral, network_->matrices());
}

template <class T> double Objective<T>::denominator(Selection selection) const {
  double sum = 0.0;
  for (std::int64_t i = 0; i < selection.count; ++i)
    sum += loss_->share(data_.targets, selection.index ? selection.index[i] : i);
  require(sum > 0.0, "the sample weights of `batch` sum to ", sum, "; a mean needs a positive sum");
  return sum;
}

template <class T>
void Objective<T>::prepare(const Plan &plan, Keep keep, Workspace<T> &space) const {
  const int threads = plan.tiles ? 1 : thread_count();
  const auto slots = static_cast<std::size_t>(std::min<std::int64_t>(threads, plan.groups));
  if (space.slots.size() < slots)
    space.slots.resize(slots);
  for (auto &slot : space.slots) {
    if (slot.tape.rows < plan.chunk_rows || slot.keep < keep) {
      slot.keep = std::max(slot.keep, keep);
      slot.tape = Tape<T>(*network_, std::max(plan.chunk_rows, slot.tape.rows), slot.keep,
                          loss_->saved_per_row(network_->outputs()));
    }
    slot.gathered.reserve(plan.chunk_rows, network_->inputs(), network_->outputs(), data_);
  }
  space.losses.assign(static_cast<std::size_t>(plan.groups), 0.0);
}

// Adds every chunk's loss, and its gradient to its group's part of `gradients` unless null.
template <class T>
double Objective<T>::run_chunks(const Plan &plan, Point<T> point, Selection selection, T *gradients,
                                Workspace<T> &space, const Poll &poll) const {
  const std::int64_t n = network_->weights(), in = network_->inputs(), out = network_->outputs();
  const double total = denominator(selection);
  network_->check_batch(selection.count, point.training);
  const std::int64_t work = network_->cost().work;
  const auto chunk = [&](std::int64_t group, Plan::Range range, int slot_index) {
    auto &slot = space.slots[static_cast<std::size_t>(slot_index)];
    const Rows<T> rows = slot.gathered.fill(data_, selection, range, in, out);
    const Team team{plan.tiles, &poll, point.training, range.begin};
    forward(*network_, team, range.count, point, rows.x, slot.tape);
    T *delta = gradients ? slot.tape.delta.back() : nullptr;
    space.losses[static_cast<std::size_t>(group)] +=
        loss_->forward(range.count, out, slot.tape.h.back(), rows.targets, total, delta, nullptr);
    if (gradients)
      backward(*network_, team, range.count, point.theta, rows.x, slot.tape, gradients + group * n);
  };
  const std::int64_t wave = plan.chunks_per_poll(gradients ? 3 * work : work);
  for (std::int64_t first = 0; first < plan.chunks_per_group(); first += wave) {
    if (poll)
      poll();
    parallel_blocks(
        plan.groups, plan.tiles ? 0 : plan.rows * work / 8,
        [&](std::int64_t group, int slot) {
          const std::int64_t last = std::min(plan.chunks_per_group(), first + wave);
          for (std::int64_t c = first; c < last; ++c)
            if (const Plan::Range range = plan.range(group, c); range.count > 0)
              chunk(group, range, slot);
        },
        std::ssize(space.slots));
  }
  double loss = 0.0;
  for (const double part : space.losses)
    loss += part;
  return loss;
}

template <class T> double Objective<T>::penalty(const T *theta) const {
  if (l2_ == 0.0)
    return 0.0;
  const std::int64_t n = network_->size();
  return 0.5 * l2_ * parallel_sum(n, kRange, n, [theta](std::int64_t begin, std::int64_t end) {
           double sum = 0.0;
           for (std::int64_t i = begin; i < end; ++i)
             sum += static_cast<double>(theta[i]) * static_cast<double>(theta[i]);
           return sum;
         });
}

template <class T>
double Objective<T>::loss(Point<T> point, Selection selection, Workspace<T> &space,
                          const Poll &poll) const {
  const Plan plan(selection.count, network_->cost(), coupled(point));
  const Point<T> at = with_weights(*network_, point, space.weights);
  prepare(plan, Keep::outputs, space);
  const double loss = run_chunks(plan, at, selection, nullptr, space, poll);
  const double spectral = spectral_ ? spectral_->add_gradient(at.theta, nullptr, poll) : 0.0;
  return loss + spectral + penalty(point.theta);
}

// The mean loss; its gradient is the sum of the groups' in `space.gradients`, or in `sum` when
// there is one group.
template <class T>
double Objective<T>::run_gradients(const Plan &plan, Point<T> point, Selection selection, T *sum,
                                   Workspace<T> &space, const Poll &poll) const {
  const std::int64_t n = network_->weights();
  prepare(plan, Keep::slopes, space);
  T *parts = sum;
  if (plan.groups > 1) {
    if (static_cast<std::int64_t>(space.gradients.size()) < plan.groups * n)
      space.gradients.resize(
          static_cast<std::size_t>(product(plan.groups, n, "the gradients of all groups")));
    parts = space.gradients.data();
  }
  parallel_ranges(plan.groups * n, kRange, plan.groups * n / 8,
                  [parts](std::int64_t begin, std::int64_t end) {
                    std::fill(parts + begin, parts + end, T(0));
                  });
  return run_chunks(plan, point, selection, parts, space, poll);
}

// gradient[begin … end) = Σ groups + l2·θ; `parts` null: the gradient already holds the sum.
template <class T>
static void add_groups(const T *parts, std::int64_t groups, std::int64_t n, T l2, const T *theta,
                       std::int64_t begin, std::int64_t end, T *gradient) {
  if (parts) {
    const T *second = parts + n;
    for (std::int64_t i = begin; i < end; ++i)
      gradient[i] = parts[i] + second[i];
    for (std::int64_t g = 2; g < groups; ++g)
      for (std::int64_t i = begin; i < end; ++i)
        gradient[i] += parts[g * n + i];
  }
  if (l2 != T(0))
    for (std::int64_t i = begin; i < end; ++i)
      gradient[i] += l2 * theta[i];
}

// Σ x² in float64 by 16 interleaved sums: fills the vector lanes and keeps one order.
template <class T> static double sum_of_squares(const T *x, std::int64_t n) {
  double lanes[16] = {};
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int j = 0; j < 16; ++j)
      lanes[j] += static_cast<double>(x[i + j]) * static_cast<double>(x[i + j]);
  double sum = 0.0;
  for (const double lane : lanes)
    sum += lane;
  for (; i < n; ++i)
    sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

// gradient = Σ groups + l2·θ, and its squared norm while it is in the cache.
template <class T>
typename Objective<T>::Value Objective<T>::finish(std::int64_t groups, double loss, const T *theta,
                                                  T *gradient, Workspace<T> &space) const {
  const std::int64_t n = network_->size(), ranges = (n + kRange - 1) / kRange;
  space.squares.assign(static_cast<std::size_t>(ranges), 0.0);
  const T *parts = groups > 1 ? space.gradients.data() : nullptr;
  parallel_blocks(ranges, n * groups / 4, [&](std::int64_t range, int) {
    const std::int64_t begin = range * kRange, end = std::min(n, begin + kRange);
    add_groups(parts, groups, n, static_cast<T>(l2_), theta, begin, end, gradient);
    space.squares[static_cast<std::size_t>(range)] = sum_of_squares(gradient + begin, end - begin);
  });
  double square = 0.0;
  for (const double part : space.squares)
    square += part;
  return {loss + penalty(theta), square};
}

template <class T>
double Objective<T>::weight_gradient(Point<T> point, Selection selection, T *d_weights,
                                     Workspace<T> &space, const Poll &poll) const {
  const Plan plan(selection.count, network_->cost(), coupled(point));
  const double loss = run_gradients(plan, point, selection, d_weights, space, poll);
  const std::int64_t n = network_->weights();
  if (plan.groups > 1)
    parallel_ranges(n, kRange, n * plan.groups / 4, [&](std::int64_t begin, std::int64_t end) {
      add_groups<T>(space.gradients.data(), plan.groups, n, T(0), nullptr, begin, end, d_weights);
    });
  return spectral_ ? loss + spectral_->add_gradient(point.theta, d_weights, poll) : loss;
}

template <class T>
typename Objective<T>::Value Objective<T>::gradient(Point<T> point, Selection selection,
                                                    T *gradient, Workspace<T> &space,
                                                    const Poll &poll) const {
  const WeightMap<T> &map = network_->map();
  if (map.identity() && !spectral_) {
    const Plan plan(selection.count, network_->cost(), coupled(point));
    const double loss = run_gradients(plan, point, selection, gradient, space, poll);
    return finish(plan.groups, loss, point.theta, gradient, space);
  }
  T *d_weights = gradient;
  if (!map.identity()) {
    space.d_weights.resize(static_cast<std::size_t>(network_->weights()));
    d_weights = space.d_weights.data();
  }
  const Point<T> at = with_weights(*network_, point, space.weights);
  const double loss = weight_gradient(at, selection, d_weights, space, poll);
  if (!map.identity())
    map.gradient(point.theta, point.buffers, d_weights, gradient);
  return finish(1, loss, point.theta, gradient, space);
}

template <class T>
void Objective<T>::update_buffers(std::int64_t rows, const Workspace<T> &space, T *buffers) const {
  if (network_->buffer_size() > 0)
    nn::update_buffers(*network_, rows, space.slots.front().tape, buffers);
}

template <class T>
void predict(const Network<T> &network, Point<T> point, const T *x, std::int64_t rows, T *out,
             const Poll &poll) {
  const bool coupled = network.coupled(point.training);
  if (coupled && rows > 0)
    network.check_batch(rows, point.training);
  const Plan plan(rows, network.cost(), coupled);
  AlignedVector<T> weights;
  const Point<T> at = with_weights(network, point, weights);
  const int slots =
      plan.tiles ? 1 : static_cast<int>(std::min<std::int64_t>(thread_count(), plan.groups));
  std::vector<Tape<T>> tapes;
  for (int i = 0; i < slots; ++i)
    tapes.emplace_back(network, plan.chunk_rows, Keep::outputs, 0);
  for (std::int64_t c = 0; c < plan.chunks_per_group(); ++c) {
    if (poll)
      poll();
    parallel_blocks(
        plan.groups, plan.tiles ? 0 : plan.rows * network.cost().work / 32,
        [&](std::int64_t group, int slot) {
          const Plan::Range range = plan.range(group, c);
          if (range.count <= 0)
            return;
          Tape<T> &tape = tapes[static_cast<std::size_t>(slot)];
          forward(network, Team{plan.tiles, &poll}, range.count, at,
                  x + range.begin * network.inputs(), tape);
          std::copy_n(tape.h.back(), range.count * network.outputs(),
                      out + range.begin * network.outputs());
        },
        slots);
  }
}

template struct Gathered<float>;
template struct Gathered<double>;
template class Objective<float>;
template class Objective<double>;
template void predict<float>(const Network<float> &, Point<float>, const float *, std::int64_t,
                             float *, const Poll &);
template void predict<double>(const Network<double> &, Point<double>, const double *, std::int64_t,
                              double *, const Poll &);

} // namespace unstuck::nn
