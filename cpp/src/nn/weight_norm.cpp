// Weight normalisation (1602.07868): W = g·V/‖V‖, the norm over all axes but one, or over all.
//
// Per unit, s = ‖v‖, d = v/s:
//   w = g·d;  ∂g = d·ŵ,  ∂v = (g/s)(ŵ − d(d·ŵ));  Rd = (v̇ − d(d·v̇))/s,  Rw = ġd + g·Rd
//   R∂g = d·Rŵ + Rd·ŵ,
//   R∂v = R(g/s)·(ŵ − d(d·ŵ)) + (g/s)(Rŵ − d(d·Rŵ + Rd·ŵ) − Rd(d·ŵ)),  R(g/s) = ġ/s − g(d·v̇)/s²
// A unit whose v is 0 has no direction: NaN, as in PyTorch.
#include <array>
#include <cmath>

#include "unstuck/error.hpp"
#include "unstuck/nn/parametrization.hpp"
#include "unstuck/parallel.hpp"

namespace unstuck::nn {
namespace {

template <class T> double times(T x, T y) {
  return static_cast<double>(x) * static_cast<double>(y);
}

// Entry k of unit u lies at (k / inner)·units·inner + u·inner + k % inner.
struct Units {
  std::int64_t outer, units, inner;

  std::int64_t size() const { return outer * units * inner; }
};

template <class T> class WeightNorm final : public Parametrization<T> {
public:
  WeightNorm(std::vector<std::int64_t> shape, std::int64_t dim)
      : shape_(std::move(shape)), dim_(dim), units_{1, 1, 1} {
    for (std::size_t axis = 0; axis < shape_.size(); ++axis) {
      const auto a = static_cast<std::int64_t>(axis);
      (dim < 0 || a > dim ? units_.inner : a < dim ? units_.outer : units_.units) *= shape_[axis];
    }
  }

  std::vector<ParameterShape> parameters() const override {
    std::vector<std::int64_t> shape;
    for (std::size_t axis = 0; axis < shape_.size() && dim_ >= 0; ++axis)
      shape.push_back(static_cast<std::int64_t>(axis) == dim_ ? shape_[axis] : 1);
    return {{"weight_g", shape}, {"weight_v", shape_}};
  }

  void weight(const T *theta, const T *, T *weight) const override {
    const T *g = theta, *v = theta + units_.units;
    each_unit([=, this](std::int64_t u) {
      const double scale = g[u] / norm(v, u);
      each(u, [=](std::int64_t i) { weight[i] = static_cast<T>(scale * v[i]); });
    });
  }

  void gradient(const T *theta, const T *, const T *d_weight, T *gradient) const override {
    const T *g = theta, *v = theta + units_.units;
    T *out = gradient + units_.units;
    each_unit([=, this](std::int64_t u) {
      const auto [vv, vw] = dots<2>(u, [=](std::int64_t i) {
        return std::array{times(v[i], v[i]), times(v[i], d_weight[i])};
      });
      const double s = std::sqrt(vv), along = vw / s, scale = g[u] / s, share = along / s;
      gradient[u] = static_cast<T>(along);
      each(u,
           [=](std::int64_t i) { out[i] = static_cast<T>(scale * (d_weight[i] - share * v[i])); });
    });
  }

  void tangent(const T *theta, const T *, const T *direction, T *r_weight) const override {
    const T *g = theta, *v = theta + units_.units, *r_g = direction,
            *r_v = direction + units_.units;
    each_unit([=, this](std::int64_t u) {
      const auto [vv, vr] = dots<2>(
          u, [=](std::int64_t i) { return std::array{times(v[i], v[i]), times(v[i], r_v[i])}; });
      const double s = std::sqrt(vv), scale = g[u] / s, on_v = r_g[u] / s - scale * vr / vv;
      each(u, [=](std::int64_t i) { r_weight[i] = static_cast<T>(scale * r_v[i] + on_v * v[i]); });
    });
  }

  void product(const T *theta, const T *, const T *direction, const T *d_weight,
               const T *r_d_weight, T *result) const override {
    const T *g = theta, *v = theta + units_.units, *r_g = direction,
            *r_v = direction + units_.units;
    T *out = result + units_.units;
    each_unit([=, this](std::int64_t u) {
      const auto [vv, vw, vr, rw, vp] = dots<5>(u, [=](std::int64_t i) {
        return std::array{times(v[i], v[i]), times(v[i], d_weight[i]), times(v[i], r_v[i]),
                          times(r_v[i], d_weight[i]), times(v[i], r_d_weight[i])};
      });
      const double s = std::sqrt(vv), dw = vw / s, dr = vr / s, dp = vp / s,
                   rd_w = (rw - dr * dw) / s; // Rd·ŵ
      const double scale = g[u] / s, r_scale = r_g[u] / s - g[u] * dr / vv;
      // coefficients of ŵ, Rŵ, v̇ and v in R∂v; Rd = v̇/s − v(d·v̇)/s²
      const double on_r = -scale * dw / s,
                   on_v = (-r_scale * dw - scale * (dp + rd_w) + scale * dw * dr / s) / s;
      result[u] = static_cast<T>(dp + rd_w);
      each(u, [=](std::int64_t i) {
        out[i] = static_cast<T>(r_scale * d_weight[i] + scale * r_d_weight[i] + on_r * r_v[i] +
                                on_v * v[i]);
      });
    });
  }

private:
  template <class Body> void each_unit(Body &&body) const {
    parallel_blocks(units_.units, units_.size(), [&](std::int64_t u, int) { body(u); });
  }

  template <class Body> void each(std::int64_t u, Body &&body) const {
    for (std::int64_t o = 0; o < units_.outer; ++o) {
      const std::int64_t begin = (o * units_.units + u) * units_.inner;
      for (std::int64_t i = begin; i < begin + units_.inner; ++i)
        body(i);
    }
  }

  // Σ over a unit of N terms at once, by 8 interleaved sums: fills the vector lanes and keeps one
  // order.
  template <std::size_t N, class Body>
  std::array<double, N> dots(std::int64_t u, Body &&terms) const {
    constexpr std::int64_t lanes = 8;
    double sums[N][lanes] = {};
    for (std::int64_t o = 0; o < units_.outer; ++o) {
      const std::int64_t begin = (o * units_.units + u) * units_.inner, end = begin + units_.inner;
      std::int64_t i = begin;
      for (; i + lanes <= end; i += lanes)
        for (std::int64_t lane = 0; lane < lanes; ++lane) {
          const std::array<double, N> term = terms(i + lane);
          for (std::size_t k = 0; k < N; ++k)
            sums[k][lane] += term[k];
        }
      for (; i < end; ++i) {
        const std::array<double, N> term = terms(i);
        for (std::size_t k = 0; k < N; ++k)
          sums[k][0] += term[k];
      }
    }
    std::array<double, N> result{};
    for (std::size_t k = 0; k < N; ++k)
      for (const double sum : sums[k])
        result[k] += sum;
    return result;
  }

  double norm(const T *v, std::int64_t u) const {
    return std::sqrt(dots<1>(u, [=](std::int64_t i) { return std::array{times(v[i], v[i])}; })[0]);
  }

  std::vector<std::int64_t> shape_;
  std::int64_t dim_;
  Units units_;
};

} // namespace

template <class T>
std::unique_ptr<Parametrization<T>> make_weight_norm(const LayerSpec &spec,
                                                     const ParameterShape &weight) {
  if (spec.kind != "WeightNorm")
    return nullptr;
  const auto dim = static_cast<std::int64_t>(spec.option("dim"));
  const auto axes = static_cast<std::int64_t>(weight.shape.size());
  require(dim >= -1 && dim < axes, "WeightNorm: `dim` must be an axis of the weight, 0 … ",
          axes - 1, ", or None, got ", dim);
  return std::make_unique<WeightNorm<T>>(weight.shape, dim);
}

template std::unique_ptr<Parametrization<float>> make_weight_norm<float>(const LayerSpec &,
                                                                         const ParameterShape &);
template std::unique_ptr<Parametrization<double>> make_weight_norm<double>(const LayerSpec &,
                                                                           const ParameterShape &);

} // namespace unstuck::nn
