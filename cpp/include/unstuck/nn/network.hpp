// A network: layers wired to each other over one flat parameter vector, and the tape that a pass
// writes.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "unstuck/aligned.hpp"
#include "unstuck/nn/layer.hpp"
#include "unstuck/nn/parametrization.hpp"
#include "unstuck/nn/plan.hpp"

namespace unstuck::nn {

struct Block {
  std::string name; // "0.weight"
  std::int64_t begin = 0, end = 0;
  std::vector<std::int64_t> shape;
};

constexpr std::int64_t kInput = -1; // a source: the samples themselves
constexpr std::int64_t kNone = -2;  // no source

// A layer in its place. Sources are indices of earlier nodes, or kInput. With a `second` source the
// node is the sum of both and its layer only says the size. The last node is the output.
struct NodeSpec {
  std::string name; // "3.0": its parameters are "3.0.weight", "3.0.bias"
  LayerSpec layer;
  std::int64_t source = kInput, second = kNone;
  LayerSpec parametrization = {}; // of the layer's weight; without a kind: none
};

// A layer's weight in ω as a matrix: (outputs, everything else).
struct WeightMatrix {
  std::string name;
  std::int64_t begin, rows, columns;
};

// The parameters θ are what is trained, the weights ω what the layers read: ω = θ unless a layer's
// weight is parametrized.

template <class T> class Network {
public:
  Network(const std::vector<NodeSpec> &specs, std::int64_t inputs);

  std::int64_t inputs() const { return inputs_; }
  std::int64_t outputs() const { return layers_.back()->outputs(); }
  std::int64_t size() const { return size_; } // number of parameters
  std::size_t depth() const { return layers_.size(); }
  const Layer<T> &layer(std::size_t i) const { return *layers_[i]; }
  const std::vector<Block> &blocks() const { return blocks_; }

  std::int64_t weights() const { return weights_; }                       // numbers in ω
  std::int64_t offset(std::size_t i) const { return places_[i].weights; } // of a layer in ω
  const WeightMap<T> &map() const { return map_; }
  const std::vector<WeightMatrix> &matrices() const { return matrices_; }

  // Buffers of all layers, laid out like the parameters.
  std::int64_t buffer_size() const { return buffer_size_; }
  std::int64_t buffer_offset(std::size_t i) const { return places_[i].buffers; }
  const std::vector<Block> &buffer_blocks() const { return buffer_blocks_; }
  const std::vector<double> &buffer_starts() const { return buffer_starts_; } // of each block

  // Where node i reads, and whether its derivative is the first to reach that source: the first
  // writes, later ones add.
  struct Edge {
    std::int64_t from = kNone;
    bool writes = true;
  };
  Edge source(std::size_t i) const { return places_[i].source; }
  Edge second(std::size_t i) const { return places_[i].second; }
  bool sum(std::size_t i) const { return places_[i].second.from != kNone; }

  // Whether a value depends on the parameters: no derivative is taken of one that does not.
  bool live(std::size_t i) const { return places_[i].live; }
  bool live(Edge edge) const { return edge.from >= 0 && live(static_cast<std::size_t>(edge.from)); }

  // Which of the buffers of `slots()` holds Rδ of node i, from its first writer to the node itself.
  std::size_t slot(std::size_t i) const { return places_[i].slot; }
  const std::vector<std::int64_t> &slots() const { return slots_; } // widths

  // Width of the buffer in which a derivative waits to be added; 0: none is needed.
  std::int64_t waiting() const { return waiting_; }

  // Whether the batch is one function that cannot be cut into chunks.
  bool coupled(bool training) const;

  // Refuses a batch that a layer cannot work on; names the layer.
  void check_batch(std::int64_t rows, bool training) const;

  // Σ over layers of outputs per row: the size of a tape's row without slopes and bends.
  std::int64_t width() const;

  // What a pass over one sample costs; see plan.hpp.
  PassCost cost() const { return cost_; }

private:
  struct Place {
    std::int64_t weights = 0, buffers = 0;
    Edge source, second;
    bool live = false;
    std::size_t slot = 0;
  };
  void add(const NodeSpec &spec);
  void add_parameters(const NodeSpec &spec);
  void add_parametrized(const NodeSpec &spec, const ParameterShape &weight, std::int64_t at);
  void add_parameter(const std::string &name, const ParameterShape &parameter);
  void add_buffers(const std::string &name, const std::vector<typename Layer<T>::Buffer> &buffers);
  std::int64_t width_at(std::int64_t source) const;
  void order_derivatives();
  void assign_slots();

  std::vector<std::unique_ptr<Layer<T>>> layers_;
  std::vector<std::string> names_;
  std::vector<Place> places_;
  std::vector<Block> blocks_, buffer_blocks_;
  std::vector<double> buffer_starts_;
  std::vector<std::int64_t> slots_;
  WeightMap<T> map_;
  std::vector<WeightMatrix> matrices_;
  std::int64_t inputs_, size_ = 0, weights_ = 0, buffer_size_ = 0, waiting_ = 0;
  PassCost cost_;
};

// Where a network is evaluated, and how. The passes below take ω for θ, and derivatives along and
// with respect to ω.
template <class T> struct Point {
  const T *theta = nullptr, *buffers = nullptr;
  bool training = false;
};

// The point with ω for θ; `space` keeps ω where it is not θ itself.
template <class T>
Point<T> with_weights(const Network<T> &network, Point<T> point, AlignedVector<T> &space);

// What a tape keeps beyond the layers' outputs.
enum class Keep { outputs, slopes, curvature };

// The values that one pass over at most `rows` samples writes, planned once and reused.
// h[i]: output of layer i; slope[i], bend[i]: see layer.hpp; delta[i]: ∂L/∂h[i]; `loss`: what the
// loss keeps.
template <class T> struct Tape {
  AlignedVector<T> memory;
  std::vector<T *> h, slope, delta, bend;
  T *loss = nullptr, *waiting = nullptr; // a derivative that is added to another
  std::int64_t rows = 0;

  Tape() = default;
  Tape(const Network<T> &network, std::int64_t rows, Keep keep, std::int64_t loss_per_row);
  static std::int64_t per_row(const Network<T> &network, Keep keep, std::int64_t loss_per_row);
  static std::int64_t per_pass(const Network<T> &network);
};

// Tangents of one direction: Rh[i] of every node, and Rδ[i] in buffers that are used again.
template <class T> struct TangentTape {
  AlignedVector<T> memory;
  std::vector<T *> r_h, r_delta;
  T *waiting = nullptr;

  TangentTape() = default;
  TangentTape(const Network<T> &network, std::int64_t rows);
  static std::int64_t per_row(const Network<T> &network);
};

// h of every node for `rows` samples x; slopes too when the tape keeps them.
template <class T>
void forward(const Network<T> &network, Team team, std::int64_t rows, Point<T> point, const T *x,
             Tape<T> &tape);

// What training changes without a gradient, after a forward pass in training.
template <class T>
void update_buffers(const Network<T> &network, std::int64_t rows, const Tape<T> &tape, T *buffers);

// Fills every δ from that of the outputs, which stands in tape.delta.back(); gradient += ∂L/∂θ
// unless null.
template <class T>
void backward(const Network<T> &network, Team team, std::int64_t rows, const T *theta, const T *x,
              Tape<T> &tape, T *gradient);

// Fills the bends of a tape that keeps curvature; after backward().
template <class T>
void keep_bends(const Network<T> &network, Team team, std::int64_t rows, const T *x, Tape<T> &tape);

// Rh of the outputs along v, on top of a tape that keeps curvature.
template <class T>
void tangent_forward(const Network<T> &network, Team team, std::int64_t rows, const T *theta,
                     const T *v, const T *x, const Tape<T> &tape, TangentTape<T> &tangent);

// product += R{gradient} from Rδ of the outputs, which stands in
// tangent.r_delta.back().
template <class T>
void tangent_backward(const Network<T> &network, Team team, std::int64_t rows, const T *theta,
                      const T *v, const T *x, const Tape<T> &tape, TangentTape<T> &tangent,
                      T *product);

// product += Jᵀ·Rδ with J = ∂(outputs)/∂ω and Rδ of the outputs, which stands in
// tangent.r_delta.back().
template <class T>
void pull_back(const Network<T> &network, Team team, std::int64_t rows, const T *theta, const T *x,
               const Tape<T> &tape, TangentTape<T> &tangent, T *product);

} // namespace unstuck::nn
