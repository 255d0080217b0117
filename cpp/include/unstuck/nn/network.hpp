// A network: a sequence of layers over one flat parameter vector, and the tape that a pass writes.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "unstuck/aligned.hpp"
#include "unstuck/nn/layer.hpp"

namespace unstuck::nn {

struct Block {
  std::string name; // "0.weight"
  std::int64_t begin = 0, end = 0;
  std::vector<std::int64_t> shape;
};

template <class T> class Network {
public:
  Network(const std::vector<LayerSpec> &specs, std::int64_t inputs);

  std::int64_t inputs() const { return inputs_; }
  std::int64_t outputs() const { return outputs_; }
  std::int64_t size() const { return size_; } // number of parameters
  std::size_t depth() const { return layers_.size(); }
  const Layer<T> &layer(std::size_t i) const { return *layers_[i]; }
  std::int64_t offset(std::size_t i) const { return offsets_[i]; }
  const std::vector<Block> &blocks() const { return blocks_; }

  // Buffers of all layers, laid out like the parameters.
  std::int64_t buffer_size() const { return buffer_size_; }
  std::int64_t buffer_offset(std::size_t i) const { return buffer_offsets_[i]; }
  const std::vector<Block> &buffer_blocks() const { return buffer_blocks_; }
  const std::vector<double> &buffer_starts() const { return buffer_starts_; } // of each block

  // Whether in training the batch is one function that cannot be cut into chunks.
  bool coupled() const;

  // Refuses a batch that a layer cannot be trained on; names the layer.
  void check_batch(std::int64_t rows) const;

  // The first layer with parameters: no derivative is taken below it.
  std::size_t first() const { return first_; }

  // Σ over layers of outputs per row: the size of a tape's row without slopes and bends.
  std::int64_t width() const;

private:
  std::vector<std::unique_ptr<Layer<T>>> layers_;
  std::vector<std::int64_t> offsets_;
  std::vector<Block> blocks_, buffer_blocks_;
  std::vector<std::int64_t> buffer_offsets_;
  std::vector<double> buffer_starts_;
  std::int64_t inputs_, outputs_, size_ = 0, buffer_size_ = 0;
  std::size_t first_ = 0;
};

// Where a network is evaluated, and how.
template <class T> struct Point {
  const T *theta = nullptr, *buffers = nullptr;
  bool training = false;
};

// What a tape keeps beyond the layers' outputs.
enum class Keep { outputs, slopes, curvature };

// The values that one pass over at most `rows` samples writes, planned once and reused.
// h[i]: output of layer i; slope[i], bend[i]: see layer.hpp; delta[i]: ∂L/∂h[i]; `loss`: what the
// loss keeps.
template <class T> struct Tape {
  AlignedVector<T> memory;
  std::vector<T *> h, slope, delta, bend;
  T *loss = nullptr;
  std::int64_t rows = 0;

  Tape() = default;
  Tape(const Network<T> &network, std::int64_t rows, Keep keep, std::int64_t loss_per_row);
  static std::int64_t per_row(const Network<T> &network, Keep keep, std::int64_t loss_per_row);
  static std::int64_t per_pass(const Network<T> &network);
};

// Tangents of one direction: Rh[i] of every layer, and two buffers between which Rδ travels down.
template <class T> struct TangentTape {
  AlignedVector<T> memory;
  std::vector<T *> r_h;
  T *r_delta[2] = {nullptr, nullptr};

  TangentTape() = default;
  TangentTape(const Network<T> &network, std::int64_t rows);
  static std::int64_t per_row(const Network<T> &network);
};

// h[0 … depth−1] of `rows` samples x; slopes too when the tape keeps them.
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

// product += R{gradient} from Rδ of the outputs, which stands in tangent.r_delta[0].
template <class T>
void tangent_backward(const Network<T> &network, Team team, std::int64_t rows, const T *theta,
                      const T *v, const T *x, const Tape<T> &tape, TangentTape<T> &tangent,
                      T *product);

} // namespace unstuck::nn
