// The four passes over the layers of a network, and the memory they use.
#include "unstuck/nn/network.hpp"

#include <algorithm>

#include "unstuck/error.hpp"

namespace unstuck::nn {
namespace {

constexpr std::int64_t kMostParameters = std::int64_t{1} << 48; // sums of sizes cannot overflow

} // namespace

template <class T>
Network<T>::Network(const std::vector<NodeSpec> &specs, std::int64_t inputs) : inputs_(inputs) {
  require(inputs > 0, "`input_shape` must hold at least one feature, got ", inputs);
  require(!specs.empty(), "a network needs at least one layer");
  for (const NodeSpec &spec : specs)
    add(spec);
  require(size_ > 0, "a network needs at least one layer with parameters");
  order_derivatives();
  assign_slots();
}

template <class T> std::int64_t Network<T>::width_at(std::int64_t source) const {
  return source == kInput ? inputs_ : layers_[static_cast<std::size_t>(source)]->outputs();
}

template <class T> void Network<T>::add(const NodeSpec &spec) {
  const auto known = static_cast<std::int64_t>(depth());
  require(spec.source >= kInput && spec.source < known && spec.second >= kNone &&
              spec.second < known,
          "layer ", spec.name, " must read from an earlier one");
  try {
    layers_.push_back(make_layer<T>(spec.layer, width_at(spec.source)));
  } catch (const ArgumentError &error) {
    require(false, "layer ", spec.name, ": ", error.what());
  }
  names_.push_back(spec.name);
  Place place{size_, buffer_size_, {spec.source}, {spec.second}};
  require(spec.second == kNone || width_at(spec.second) == width_at(spec.source), "layer ",
          spec.name, " adds ", width_at(spec.source), " features to ", width_at(spec.second));
  for (const auto &buffer : layers_.back()->buffers()) {
    const std::int64_t begin = buffer_size_;
    buffer_size_ += buffer.parameter.size();
    buffer_blocks_.push_back(
        {spec.name + "." + buffer.parameter.name, begin, buffer_size_, buffer.parameter.shape});
    buffer_starts_.push_back(buffer.start);
  }
  for (const ParameterShape &parameter : layers_.back()->parameters()) {
    const std::int64_t begin = size_;
    size_ += parameter.size();
    require(size_ <= kMostParameters, "the layers hold more than 2^48 parameters");
    blocks_.push_back({spec.name + "." + parameter.name, begin, size_, parameter.shape});
  }
  place.live = size_ > place.parameters || live(place.source) || live(place.second);
  places_.push_back(place);
}

// Backwards, the first reader of a node writes its derivative and the others add theirs.
template <class T> void Network<T>::order_derivatives() {
  std::vector<bool> written(depth(), false);
  for (std::size_t i = depth(); i-- > 0;)
    for (Edge *edge : {&places_[i].source, &places_[i].second})
      if (edge->from >= 0) {
        const auto from = static_cast<std::size_t>(edge->from);
        edge->writes = !written[from];
        written[from] = true;
        if (!edge->writes && !sum(i) && live(*edge))
          waiting_ = std::max(waiting_, layers_[from]->outputs());
      }
}

template <class T> void Network<T>::assign_slots() {
  std::vector<bool> taken;
  const auto take = [&](std::size_t node) {
    std::size_t slot = 0;
    while (slot < taken.size() && taken[slot])
      ++slot;
    if (slot == taken.size()) {
      taken.push_back(false);
      slots_.push_back(0);
    }
    taken[slot] = true;
    slots_[slot] = std::max(slots_[slot], layers_[node]->outputs());
    places_[node].slot = slot;
  };
  take(depth() - 1);
  for (std::size_t i = depth(); i-- > 0;) {
    if (!live(i))
      continue;
    for (const Edge edge : {source(i), second(i)})
      if (live(edge) && edge.writes)
        take(static_cast<std::size_t>(edge.from));
    taken[slot(i)] = false;
  }
}

template <class T> PassCost Network<T>::cost() const {
  PassCost cost{size_, 0, width()};
  for (const auto &layer : layers_)
    cost.work += layer->work_per_row();
  return cost;
}

template <class T> bool Network<T>::coupled(bool training) const {
  return std::any_of(layers_.begin(), layers_.end(),
                     [training](const auto &layer) { return layer->coupled(training); });
}

template <class T> void Network<T>::check_batch(std::int64_t rows, bool training) const {
  for (std::size_t i = 0; i < depth(); ++i) {
    const std::int64_t fewest = layers_[i]->fewest_rows(training);
    require(rows >= fewest, "layer ", names_[i], " needs a batch of at least ", fewest, " samples",
            training ? " in training" : "", ", got ", rows,
            ": the variance of one value is 0 whatever it is");
  }
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

namespace {

template <class T> using Edge = typename Network<T>::Edge;

// out = x + y, where either may be null for 0
template <class T> void add(Team team, std::int64_t n, const T *x, const T *y, T *out) {
  team.elementwise(n, [=](std::int64_t begin, std::int64_t end) {
    if (x && y)
      for (std::int64_t i = begin; i < end; ++i)
        out[i] = x[i] + y[i];
    else
      std::copy(x ? x + begin : y + begin, x ? x + end : y + end, out + begin);
  });
}

template <class P> P at(const std::vector<P> &values, std::int64_t node) {
  return values[static_cast<std::size_t>(node)];
}

// Calls pass(target) with where the derivative of `edge` is to be written, null if nobody needs it,
// and adds it where another stands already.
template <class T, class Pass>
void send(const Network<T> &network, Team team, std::int64_t rows, Edge<T> edge,
          const std::vector<T *> &delta, T *waiting, Pass &&pass) {
  if (!network.live(edge)) {
    pass(static_cast<T *>(nullptr));
    return;
  }
  T *const target = at(delta, edge.from);
  pass(edge.writes ? target : waiting);
  if (!edge.writes)
    add<T>(team, rows * network.layer(static_cast<std::size_t>(edge.from)).outputs(), target,
           waiting, target);
}

// The derivative of a sum goes to both summands.
template <class T>
void send_sum(const Network<T> &network, Team team, std::int64_t rows, std::size_t i,
              const std::vector<T *> &delta) {
  for (const Edge<T> edge : {network.source(i), network.second(i)})
    if (network.live(edge)) {
      T *const target = at(delta, edge.from);
      add<T>(team, rows * network.layer(i).outputs(), edge.writes ? nullptr : target, delta[i],
             target);
    }
}

} // namespace

template <class T>
void forward(const Network<T> &network, Team team, std::int64_t rows, Point<T> point, const T *x,
             Tape<T> &tape) {
  for (std::size_t i = 0; i < network.depth(); ++i) {
    const auto value = [&](std::int64_t from) { return from < 0 ? x : at(tape.h, from); };
    const T *const a = value(network.source(i).from);
    if (network.sum(i)) {
      add<T>(team, rows * network.layer(i).outputs(), a, value(network.second(i).from), tape.h[i]);
      continue;
    }
    const bool needed = network.live(i) || network.layer(i).slope_per_pass() > 0;
    network.layer(i).forward(team, rows, point.theta + network.offset(i),
                             point.buffers ? point.buffers + network.buffer_offset(i) : nullptr, a,
                             tape.h[i], needed ? tape.slope[i] : nullptr);
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
  for (std::size_t i = network.depth(); i-- > 0;) {
    if (!network.live(i))
      continue;
    if (network.sum(i)) {
      send_sum(network, team, rows, i, tape.delta);
      continue;
    }
    const auto edge = network.source(i);
    send<T>(network, team, rows, edge, tape.delta, tape.waiting, [&](T *d_a) {
      network.layer(i).backward(
          team, rows, theta + network.offset(i), edge.from < 0 ? x : at(tape.h, edge.from),
          tape.slope[i], tape.delta[i], d_a, gradient ? gradient + network.offset(i) : nullptr);
    });
  }
}

template <class T>
void keep_bends(const Network<T> &network, Team team, std::int64_t rows, const T *x,
                Tape<T> &tape) {
  for (std::size_t i = 0; i < network.depth(); ++i)
    if (network.live(i) && !network.sum(i)) {
      const std::int64_t from = network.source(i).from;
      network.layer(i).keep_bend(team, rows, from < 0 ? x : at(tape.h, from), tape.h[i],
                                 tape.slope[i], tape.delta[i], tape.bend[i]);
    }
}

template <class T>
void tangent_forward(const Network<T> &network, Team team, std::int64_t rows, const T *theta,
                     const T *v, const T *x, const Tape<T> &tape, TangentTape<T> &tangent) {
  for (std::size_t i = 0; i < network.depth(); ++i) {
    if (!network.live(i))
      continue;
    const auto moved = [&](Edge<T> edge) {
      return network.live(edge) ? at(tangent.r_h, edge.from) : nullptr;
    };
    const auto edge = network.source(i);
    if (network.sum(i))
      add<T>(team, rows * network.layer(i).outputs(), moved(edge), moved(network.second(i)),
             tangent.r_h[i]);
    else
      network.layer(i).tangent_forward(team, rows, theta + network.offset(i), v + network.offset(i),
                                       edge.from < 0 ? x : at(tape.h, edge.from), tape.slope[i],
                                       moved(edge), tangent.r_h[i]);
  }
}

template <class T>
void tangent_backward(const Network<T> &network, Team team, std::int64_t rows, const T *theta,
                      const T *v, const T *x, const Tape<T> &tape, TangentTape<T> &tangent,
                      T *product) {
  for (std::size_t i = network.depth(); i-- > 0;) {
    if (!network.live(i))
      continue;
    if (network.sum(i)) {
      send_sum(network, team, rows, i, tangent.r_delta);
      continue;
    }
    const auto edge = network.source(i);
    send<T>(network, team, rows, edge, tangent.r_delta, tangent.waiting, [&](T *r_d_a) {
      network.layer(i).tangent_backward(
          team, rows, theta + network.offset(i), v + network.offset(i),
          edge.from < 0 ? x : at(tape.h, edge.from), tape.slope[i], tape.bend[i], tape.delta[i],
          network.live(edge) ? at(tangent.r_h, edge.from) : nullptr, tangent.r_delta[i], r_d_a,
          product + network.offset(i));
    });
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
