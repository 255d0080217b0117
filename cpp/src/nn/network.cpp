// A network's layout, and the four passes over its layers.
#include "unstuck/nn/network.hpp"

#include <algorithm>

#include "unstuck/error.hpp"

namespace unstuck::nn {
namespace {

constexpr std::int64_t kMostParameters = std::int64_t{1} << 48; // sums of sizes cannot overflow

// Whether a parameter mixes features; that of a normalisation scales them, whatever its axes.
bool is_matrix(const std::string &kind, const ParameterShape &parameter) {
  const auto scales = normalization_kinds();
  return parameter.name == "weight" && parameter.shape.size() >= 2 &&
         std::find(scales.begin(), scales.end(), kind) == scales.end();
}

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
  cost_ = {weights_, 0, width()};
  for (const auto &layer : layers_)
    cost_.work += layer->work_per_row();
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
  Place place{weights_, buffer_size_, {spec.source}, {spec.second}};
  require(spec.second == kNone || width_at(spec.second) == width_at(spec.source), "layer ",
          spec.name, " adds ", width_at(spec.source), " features to ", width_at(spec.second));
  add_buffers(spec.name, layers_.back()->buffers());
  add_parameters(spec);
  place.live = weights_ > place.weights || live(place.source) || live(place.second);
  places_.push_back(place);
}

// A parametrized weight's parameters stand behind the layer's others, as in PyTorch.
template <class T> void Network<T>::add_parameters(const NodeSpec &spec) {
  const ParameterShape *parametrized = nullptr;
  std::int64_t at = 0;
  const std::vector<ParameterShape> parameters = layers_.back()->parameters();
  for (const ParameterShape &parameter : parameters) {
    const std::int64_t size = parameter.size();
    const bool matrix = is_matrix(spec.layer.kind, parameter);
    if (matrix)
      matrices_.push_back({spec.name + ".weight", weights_, parameter.shape.front(),
                           size / parameter.shape.front()});
    if (matrix && !spec.parametrization.kind.empty()) {
      parametrized = &parameter;
      at = weights_;
    } else {
      map_.copy(size_, weights_, size);
      add_parameter(spec.name, parameter);
    }
    weights_ += size;
  }
  if (parametrized)
    add_parametrized(spec, *parametrized, at);
  else
    require(spec.parametrization.kind.empty(), "layer ", spec.name, ": ", spec.parametrization.kind,
            " needs a layer with a weight matrix, ", spec.layer.kind, " has none");
}

template <class T>
void Network<T>::add_parametrized(const NodeSpec &spec, const ParameterShape &weight,
                                  std::int64_t at) {
  std::unique_ptr<Parametrization<T>> parametrization;
  try {
    parametrization = make_parametrization<T>(spec.parametrization, weight);
  } catch (const ArgumentError &error) {
    require(false, "layer ", spec.name, ": ", error.what());
  }
  const std::int64_t begin = size_, buffers = buffer_size_;
  for (const ParameterShape &parameter : parametrization->parameters())
    add_parameter(spec.name, parameter);
  add_buffers(spec.name, parametrization->buffers());
  map_.add(std::move(parametrization), begin, at, buffers);
}

template <class T>
void Network<T>::add_parameter(const std::string &name, const ParameterShape &parameter) {
  const std::int64_t begin = size_;
  size_ += parameter.size();
  require(size_ <= kMostParameters, "the layers hold more than 2^48 parameters");
  blocks_.push_back({name + "." + parameter.name, begin, size_, parameter.shape});
}

template <class T>
void Network<T>::add_buffers(const std::string &name,
                             const std::vector<typename Layer<T>::Buffer> &buffers) {
  for (const auto &buffer : buffers) {
    const std::int64_t begin = buffer_size_;
    buffer_size_ += buffer.parameter.size();
    buffer_blocks_.push_back(
        {name + "." + buffer.parameter.name, begin, buffer_size_, buffer.parameter.shape});
    buffer_starts_.push_back(buffer.start);
  }
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
Point<T> with_weights(const Network<T> &network, Point<T> point, AlignedVector<T> &space) {
  if (network.map().identity())
    return point;
  space.resize(static_cast<std::size_t>(network.weights()));
  network.map().weights(point.theta, point.buffers, space.data());
  return {space.data(), point.buffers, point.training};
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

template <class T>
void pull_back(const Network<T> &network, Team team, std::int64_t rows, const T *theta, const T *x,
               const Tape<T> &tape, TangentTape<T> &tangent, T *product) {
  for (std::size_t i = network.depth(); i-- > 0;) {
    if (!network.live(i))
      continue;
    if (network.sum(i)) {
      send_sum(network, team, rows, i, tangent.r_delta);
      continue;
    }
    const auto edge = network.source(i);
    send<T>(network, team, rows, edge, tangent.r_delta, tangent.waiting, [&](T *d_a) {
      network.layer(i).backward(team, rows, theta + network.offset(i),
                                edge.from < 0 ? x : at(tape.h, edge.from), tape.slope[i],
                                tangent.r_delta[i], d_a, product + network.offset(i));
    });
  }
}

#define UNSTUCK_INSTANTIATE(T)                                                                     \
  template class Network<T>;                                                                       \
  template Point<T> with_weights<T>(const Network<T> &, Point<T>, AlignedVector<T> &);             \
  template void forward<T>(const Network<T> &, Team, std::int64_t, Point<T>, const T *,            \
                           Tape<T> &);                                                             \
  template void update_buffers<T>(const Network<T> &, std::int64_t, const Tape<T> &, T *);         \
  template void backward<T>(const Network<T> &, Team, std::int64_t, const T *, const T *,          \
                            Tape<T> &, T *);                                                       \
  template void keep_bends<T>(const Network<T> &, Team, std::int64_t, const T *, Tape<T> &);       \
  template void tangent_forward<T>(const Network<T> &, Team, std::int64_t, const T *, const T *,   \
                                   const T *, const Tape<T> &, TangentTape<T> &);                  \
  template void tangent_backward<T>(const Network<T> &, Team, std::int64_t, const T *, const T *,  \
                                    const T *, const Tape<T> &, TangentTape<T> &, T *);            \
  template void pull_back<T>(const Network<T> &, Team, std::int64_t, const T *, const T *,         \
                             const Tape<T> &, TangentTape<T> &, T *);
UNSTUCK_INSTANTIATE(float)
UNSTUCK_INSTANTIATE(double)
#undef UNSTUCK_INSTANTIATE

} // namespace unstuck::nn
