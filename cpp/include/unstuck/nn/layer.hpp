// A layer: an immutable description with four passes (forward, backward, tangent forward, tangent
// backward).
//
// a: the layer's input, h: its output, δ = ∂L/∂h, R = derivative along a direction v in parameter
// space. All matrices are row-major, one sample per row. `slope` and `bend` are what the passes
// keep per row (for an activation φ'(z) and φ''(z)·δ), `theta`, `v` and the results point at the
// layer's own parameters.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "unstuck/nn/team.hpp"

namespace unstuck::nn {

struct LayerSpec {
  std::string kind;
  std::map<std::string, double> options;

  double option(const std::string &name) const;
};

struct ParameterShape {
  std::string name;
  std::vector<std::int64_t> shape;
  std::int64_t size() const;
};

// What training changes without a gradient, and where it starts.
struct LayerBuffer {
  ParameterShape parameter;
  double start;
};

template <class T> class Layer {
public:
  Layer(std::int64_t inputs, std::int64_t outputs) : inputs_(inputs), outputs_(outputs) {}
  virtual ~Layer() = default;

  std::int64_t inputs() const { return inputs_; }
  std::int64_t outputs() const { return outputs_; }
  virtual std::vector<ParameterShape> parameters() const { return {}; }
  virtual std::int64_t slope_per_row() const { return 0; }
  virtual std::int64_t bend_per_row() const { return 0; }
  virtual std::int64_t slope_per_pass() const { return 0; } // kept besides, once for all rows

  // Multiply-adds of a forward pass over one sample.
  virtual std::int64_t work_per_row() const;

  using Buffer = LayerBuffer;
  virtual std::vector<Buffer> buffers() const { return {}; }

  // Whether an output depends on all samples of the batch, in training or in evaluation.
  virtual bool coupled(bool) const { return false; }

  // Fewer samples are refused, in training or in evaluation.
  virtual std::int64_t fewest_rows(bool) const { return 1; }

  // After a forward pass in training over `rows` samples that wrote `slope`.
  virtual void update_buffers(std::int64_t rows, const T *slope, T *buffers) const;

  // h = f(a); `slope` may be null when no backward pass follows, unless there is a slope_per_pass.
  virtual void forward(Team team, std::int64_t rows, const T *theta, const T *buffers, const T *a,
                       T *h, T *slope) const = 0;

  // d_a = (∂h/∂a)ᵀ δ unless null, gradient += (∂h/∂θ)ᵀ δ unless null.
  virtual void backward(Team team, std::int64_t rows, const T *theta, const T *a, const T *slope,
                        const T *delta, T *d_a, T *gradient) const = 0;

  // What the tangent passes need besides: called once per primal pass.
  virtual void keep_bend(Team team, std::int64_t rows, const T *a, const T *h, const T *slope,
                         const T *delta, T *bend) const;

  // r_h = ∂h/∂a · r_a + ∂h/∂θ · v; r_a is null where it is zero.
  virtual void tangent_forward(Team team, std::int64_t rows, const T *theta, const T *v, const T *a,
                               const T *slope, const T *r_a, T *r_h) const = 0;

  // r_d_a = R{d_a} unless null, product += R{gradient}.
  virtual void tangent_backward(Team team, std::int64_t rows, const T *theta, const T *v,
                                const T *a, const T *slope, const T *bend, const T *delta,
                                const T *r_a, const T *r_delta, T *r_d_a, T *product) const = 0;

private:
  std::int64_t inputs_, outputs_;
};

// Builds the layer that `spec` describes for `inputs` features per sample.
template <class T> std::unique_ptr<Layer<T>> make_layer(const LayerSpec &spec, std::int64_t inputs);

// The families of layers, the only list of them: make_<family> builds the layer that `spec` names,
// or gives null when it is of another family; <family>_kinds are the names that it knows.
#define UNSTUCK_LAYER_FAMILIES(FAMILY)                                                             \
  FAMILY(linear)                                                                                   \
  FAMILY(convolution)                                                                              \
  FAMILY(dropout)                                                                                  \
  FAMILY(batch_norm)                                                                               \
  FAMILY(normalization)                                                                            \
  FAMILY(activation)                                                                               \
  FAMILY(pooling)

#define UNSTUCK_DECLARE(family)                                                                    \
  template <class T>                                                                               \
  std::unique_ptr<Layer<T>> make_##family(const LayerSpec &spec, std::int64_t inputs);             \
  std::vector<std::string> family##_kinds();
UNSTUCK_LAYER_FAMILIES(UNSTUCK_DECLARE)
#undef UNSTUCK_DECLARE

// The kinds that make_layer knows, for bindings and tests.
std::vector<std::string> layer_kinds();

} // namespace unstuck::nn
