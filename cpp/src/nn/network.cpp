// The four passes over the layers of a network, and the memory they use.
#include "unstuck/nn/network.hpp"

#include <algorithm>

#include "unstuck/error.hpp"

namespace unstuck::nn {
namespace {

constexpr std::int64_t kMostParameters = std::int64_t{1} << 48; // sums of sizes cannot overflow

} // namespace

template <class T>
Network<T>::Network(const std::vector<LayerSpec> &specs, std::int64_t inputs) : inputs_(inputs) {
  require(inputs > 0, "`input_shape` must hold at least one feature, got ", inputs);
  require(!specs.empty(), "a network needs at least one layer");
  std::int64_t width = inputs;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    try {
      layers_.push_back(make_layer<T>(specs[i], width));
    } catch (const ArgumentError &error) {
      require(false, "layer ", i, ": ", error.what());
    }
    width = layers_.back()->outputs();
    offsets_.push_back(size_);
    buffer_offsets_.push_back(buffer_size_);
    for (const auto &buffer : layers_.back()->buffers()) {
      const std::int64_t begin = buffer_size_;
      buffer_size_ += buffer.parameter.size();
      buffer_blocks_.push_back({std::to_string(i) + "." + buffer.parameter.name, begin,
                                buffer_size_, buffer.parameter.shape});
      buffer_starts_.push_back(buffer.start);
    }
    for (const ParameterShape &parameter : layers_.back()->parameters()) {
      const std::int64_t begin = size_;
      size_ += parameter.size();
      require(size_ <= kMostParameters, "the layers hold more than 2^48 parameters");
      blocks_.push_back({std::to_string(i) + "." + parameter.name, begin, size_, parameter.shape});
    }
  }
  outputs_ = width;
  require(size_ > 0, "a network needs at least one layer with parameters");
  while (layers_[first_]->parameters().empty())
    ++first_;
}

template <class T> bool Network<T>::coupled() const {
  return std::any_of(layers_.begin(), layers_.end(), [](const auto &l) { return l->coupled(); });
}

template <class T> void Network<T>::check_batch(std::int64_t rows) const {
  for (std::size_t i = 0; i < depth(); ++i)
    require(rows >= layers_[i]->fewest_rows(), "layer ", i, " needs a batch of at least ",
            layers_[i]->fewest_rows(), " samples in training, got ", rows,
            ": the variance of one value is 0 whatever it is");
}

template <class T> std::int64_t Network<T>::width() const {
  std::int64_t sum = 0;
  for (const auto &layer : layers_)
    sum += layer->outputs();
  return sum;
}

template <class T>
std::int64_t Tape<T>::per_row(const Network<T> &network, Keep keep, std::int64_t loss_per_row) {
  std::int64_t sum = network.width();
  for (std::size_t i = 0; i < network.depth() && keep != Keep::outputs; ++i) {
    sum += network.layer(i).slope_per_row();
    if (keep == Keep::curvature)
      sum += network.layer(i).bend_per_row();
  }
  return keep == Keep::outputs ? sum : sum + network.width() + loss_per_row;
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
          static_cast<std::int64_t>(4 * network.depth() + 1) * aligned_size<T>(1))),
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
}

template <class T> std::int64_t TangentTape<T>::per_row(const Network<T> &network) {
  std::int64_t widest = 0;
  for (std::size_t i = 0; i < network.depth(); ++i)
    widest = std::max(widest, network.layer(i).outputs());
  return network.width() + 2 * widest;
}

template <class T>
TangentTape<T>::TangentTape(const Network<T> &network, std::int64_t rows)
    : memory(static_cast<std::size_t>(product(rows, per_row(network), "a tangent pass") +
                                      static_cast<std::int64_t>(network.depth() + 2) *
                                          aligned_size<T>(1))) {
  T *next = memory.data();
  for (std::size_t i = 0; i < network.depth(); ++i) {
    r_h.push_back(next);
    next += aligned_size<T>(rows * network.layer(i).outputs());
  }
  r_delta[0] = next;
  r_delta[1] = next + aligned_size<T>(rows * (per_row(network) - network.width()) / 2);
}

template <class T>
void forward(const Network<T> &network, Team team, std::int64_t rows, Point<T> point, const T *x,
             Tape<T> &tape) {
  for (std::size_t i = 0; i < network.depth(); ++i) {
    const bool needed = i >= network.first() || network.layer(i).slope_per_pass() > 0;
    network.layer(i).forward(team, rows, point.theta + network.offset(i),
                             point.buffers ? point.buffers + network.buffer_offset(i) : nullptr,
                             i ? tape.h[i - 1] : x, tape.h[i], needed ? tape.slope[i] : nullptr);
  }
}

template <class T>
void update_buffers(const Network<T> &network, std::int64_t rows, const Tape<T> &tape, T *buffers) {
  for (std::size_t i = 0; i < network.depth(); ++i)
    network.layer(i).update_buffers(rows, tape.slope[i], buffers + network.buffer_offset(i));
}

template <class T>
void backward(const Network<T> &network, Team team, std::int64_t rows, const T *theta, const T *x,
              Tape<T> &tape, T *gradient) {
  for (std::size_t i = network.depth(); i-- > network.first();)
    network.layer(i).backward(team, rows, theta + network.offset(i), i ? tape.h[i - 1] : x,
                              tape.slope[i], tape.delta[i],
                              i > network.first() ? tape.delta[i - 1] : nullptr,
                              gradient ? gradient + network.offset(i) : nullptr);
}

template <class T>
void keep_bends(const Network<T> &network, Team team, std::int64_t rows, const T *x,
                Tape<T> &tape) {
  for (std::size_t i = network.first(); i < network.depth(); ++i)
    network.layer(i).keep_bend(team, rows, i ? tape.h[i - 1] : x, tape.h[i], tape.slope[i],
                               tape.delta[i], tape.bend[i]);
}

template <class T>
void tangent_forward(const Network<T> &network, Team team, std::int64_t rows, const T *theta,
                     const T *v, const T *x, const Tape<T> &tape, TangentTape<T> &tangent) {
  for (std::size_t i = network.first(); i < network.depth(); ++i)
    network.layer(i).tangent_forward(
        team, rows, theta + network.offset(i), v + network.offset(i), i ? tape.h[i - 1] : x,
        tape.slope[i], i > network.first() ? tangent.r_h[i - 1] : nullptr, tangent.r_h[i]);
}

template <class T>
void tangent_backward(const Network<T> &network, Team team, std::int64_t rows, const T *theta,
                      const T *v, const T *x, const Tape<T> &tape, TangentTape<T> &tangent,
                      T *product) {
  int side = 0;
  for (std::size_t i = network.depth(); i-- > network.first();) {
    const bool inner = i > network.first();
    network.layer(i).tangent_backward(
        team, rows, theta + network.offset(i), v + network.offset(i), i ? tape.h[i - 1] : x,
        tape.slope[i], tape.bend[i], tape.delta[i], inner ? tangent.r_h[i - 1] : nullptr,
        tangent.r_delta[side], inner ? tangent.r_delta[1 - side] : nullptr,
        product + network.offset(i));
    side = 1 - side;
  }
}

#define UNSTUCK_INSTANTIATE(T)                                                                     \
  template class Network<T>;                                                                       \
  template struct Tape<T>;                                                                         \
  template struct TangentTape<T>;                                                                  \
  template void forward<T>(const Network<T> &, Team, std::int64_t, Point<T>, const T *,            \
                           Tape<T> &);                                                             \
  template void update_buffers<T>(const Network<T> &, std::int64_t, const Tape<T> &, T *);         \
  template void backward<T>(const Network<T> &, Team, std::int64_t, const T *, const T *,          \
                            Tape<T> &, T *);                                                       \
  template void keep_bends<T>(const Network<T> &, Team, std::int64_t, const T *, Tape<T> &);       \
  template void tangent_forward<T>(const Network<T> &, Team, std::int64_t, const T *, const T *,   \
                                   const T *, const Tape<T> &, TangentTape<T> &);                  \
  template void tangent_backward<T>(const Network<T> &, Team, std::int64_t, const T *, const T *,  \
                                    const T *, const Tape<T> &, TangentTape<T> &, T *);
UNSTUCK_INSTANTIATE(float)
UNSTUCK_INSTANTIATE(double)
#undef UNSTUCK_INSTANTIATE

} // namespace unstuck::nn
