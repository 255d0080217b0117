// Convolution h(o) = Σ_c W(o, c) ⋆ a(c) + b(o) over planes as in torch.nn.Conv2d, and its exact
// second-order passes. A sequence is a plane of height 1.
#include <algorithm>

#include "unstuck/error.hpp"
#include "unstuck/nn/correlation.hpp"
#include "unstuck/nn/lanes.hpp"
#include "unstuck/nn/layer.hpp"
#include "unstuck/nn/window.hpp"

namespace unstuck::nn {
namespace {

struct ConvolutionShape {
  Window window; // over the planes that arrive
  std::int64_t planes, groups;
  bool bias, sequence; // of a sequence: the weights have no height

  std::int64_t plane_weights() const { return window.channels / groups * window.taps(); }
  std::int64_t weights() const { return planes * plane_weights(); }
};

// A kernel of one position sees a plane as one row.
Window flattened(Window w) {
  const auto alone = [](const WindowAxis &a) {
    return a.kernel == 1 && a.stride == 1 && a.padding == 0 && a.out == a.size;
  };
  if (alone(w.y) && alone(w.x)) {
    w.x.size = w.x.out = w.plane();
    w.y.size = w.y.out = 1;
  }
  return w;
}

template <class T> class Convolution final : public Layer<T> {
public:
  Convolution(std::int64_t inputs, const ConvolutionShape &shape)
      : Layer<T>(inputs, shape.planes * shape.window.positions()), shape_(shape),
        forward_(forward_correlation(flattened(shape.window))),
        backward_(backward_correlations(flattened(shape.window))) {}

  std::vector<ParameterShape> parameters() const override {
    const Window &w = shape_.window;
    std::vector<std::int64_t> weight{shape_.planes, w.channels / shape_.groups};
    if (!shape_.sequence)
      weight.push_back(w.y.kernel);
    weight.push_back(w.x.kernel);
    std::vector<ParameterShape> list{{"weight", weight}};
    if (shape_.bias)
      list.push_back({"bias", {shape_.planes}});
    return list;
  }

  std::int64_t work_per_row() const override {
    return shape_.weights() * shape_.window.positions();
  }

  void forward(Team team, std::int64_t rows, const T *theta, const T *, const T *a, T *h,
               T *) const override {
    correlate(team, forward_, rows, shape_.groups, inputs_of(a), theta, bias_of(theta), Into::set,
              outputs_of(h));
  }

  void backward(Team team, std::int64_t rows, const T *theta, const T *a, const T *, const T *delta,
                T *d_a, T *gradient) const override {
    if (d_a)
      through_weights(team, rows, delta, theta, Into::set, d_a);
    if (gradient) {
      into_weights(team, rows, delta, a, gradient);
      into_bias(team, rows, delta, gradient);
    }
  }

  // R h = W ⋆ Ra + V ⋆ a + v_b
  void tangent_forward(Team team, std::int64_t rows, const T *theta, const T *v, const T *a,
                       const T *, const T *r_a, T *r_h) const override {
    correlate(team, forward_, rows, shape_.groups, inputs_of(a), v, bias_of(v), Into::set,
              outputs_of(r_h));
    if (r_a)
      correlate(team, forward_, rows, shape_.groups, inputs_of(r_a), theta,
                static_cast<const T *>(nullptr), Into::add, outputs_of(r_h));
  }

  // R d_a = Wᵀ ⋆ Rδ + Vᵀ ⋆ δ;  R W̄ = Rδ ⋆ a + δ ⋆ Ra;  R b̄ = Σ Rδ
  void tangent_backward(Team team, std::int64_t rows, const T *theta, const T *v, const T *a,
                        const T *, const T *, const T *delta, const T *r_a, const T *r_delta,
                        T *r_d_a, T *result) const override {
    if (r_d_a) {
      through_weights(team, rows, r_delta, theta, Into::set, r_d_a);
      through_weights(team, rows, delta, v, Into::add, r_d_a);
    }
    into_weights(team, rows, r_delta, a, result);
    if (r_a)
      into_weights(team, rows, delta, r_a, result);
    into_bias(team, rows, r_delta, result);
  }

private:
  std::int64_t group_inputs() const { return shape_.window.channels / shape_.groups; }
  std::int64_t group_outputs() const { return shape_.planes / shape_.groups; }
  template <class P> Planes<P> inputs_of(P *data) const {
    return {data, group_inputs(), shape_.window.plane()};
  }
  template <class P> Planes<P> outputs_of(P *data) const {
    return {data, group_outputs(), shape_.window.positions()};
  }
  const T *bias_of(const T *theta) const {
    return shape_.bias ? theta + shape_.weights() : nullptr;
  }

  // (groups, inputs, outputs, taps) of the weights that one phase of the stride needs
  const T *transposed(Team team, const T *weights, const Correlation &phase) const {
    const std::int64_t taps = phase.tap_count(), in = group_inputs(), out = group_outputs(),
                       all = shape_.window.taps();
    T *const turned = thread_scratch<T, 1>(shape_.planes * in * taps + 1);
    team.blocks(shape_.window.channels, shape_.planes * in * taps, [&](std::int64_t channel) {
      const std::int64_t group = channel / in, c = channel % in;
      T *to = turned + channel * out * taps;
      for (std::int64_t o = group * out; o < (group + 1) * out; ++o)
        for (std::int64_t t = 0; t < taps; ++t)
          *to++ = weights[(o * in + c) * all + phase.taps()[static_cast<std::size_t>(t)].weight];
    });
    return turned;
  }

  void through_weights(Team team, std::int64_t rows, const T *delta, const T *weights, Into into,
                       T *d_a) const {
    for (const Correlation &phase : backward_)
      correlate(team, phase, rows, shape_.groups, outputs_of(delta),
                transposed(team, weights, phase), static_cast<const T *>(nullptr), into,
                inputs_of(d_a));
  }

  void into_weights(Team team, std::int64_t rows, const T *delta, const T *a, T *gradient) const {
    correlate_weights(team, forward_, rows, shape_.groups, inputs_of(a), outputs_of(delta),
                      gradient);
  }

  void into_bias(Team team, std::int64_t rows, const T *delta, T *gradient) const {
    if (!shape_.bias)
      return;
    const std::int64_t positions = shape_.window.positions();
    team.blocks(shape_.planes, rows * this->outputs() / 8, [&](std::int64_t o) {
      constexpr std::int64_t L = kLanes<T>;
      Lanes<T> sums{};
      T rest = 0;
      for (std::int64_t s = 0; s < rows; ++s) {
        const T *d = delta + s * this->outputs() + o * positions;
        std::int64_t i = 0;
        for (; i + L <= positions; i += L)
          sums += lanes(d + i);
        for (; i < positions; ++i)
          rest += d[i];
      }
      for (std::int64_t i = 0; i < L; ++i)
        rest += sums[i];
      gradient[shape_.weights() + o] += rest;
    });
  }

  ConvolutionShape shape_;
  Correlation forward_;
  std::vector<Correlation> backward_;
};

} // namespace

std::vector<std::string> convolution_kinds() { return {"Conv2d"}; }

template <class T>
std::unique_ptr<Layer<T>> make_convolution(const LayerSpec &spec, std::int64_t inputs) {
  if (spec.kind != "Conv2d")
    return nullptr;
  const auto whole = [&spec](const char *name) {
    return static_cast<std::int64_t>(spec.option(name));
  };
  const ConvolutionShape shape{make_window(spec, inputs), whole("out_channels"), whole("groups"),
                               spec.option("bias") != 0.0, spec.option("sequence") != 0.0};
  require(shape.planes > 0 && shape.groups > 0 && shape.window.channels % shape.groups == 0 &&
              shape.planes % shape.groups == 0,
          spec.kind, ": ", shape.groups, " groups do not divide ", shape.window.channels, " and ",
          shape.planes, " channels");
  return std::make_unique<Convolution<T>>(inputs, shape);
}

template std::unique_ptr<Layer<float>> make_convolution<float>(const LayerSpec &, std::int64_t);
template std::unique_ptr<Layer<double>> make_convolution<double>(const LayerSpec &, std::int64_t);

} // namespace unstuck::nn
