// Layer, group and root-mean-square normalisation as layers, with their exact second-order passes.
//
// A sample is `repeats` pieces of `groups` rows of L elements, each row with its own μ and r; the
// pieces share γ and β:
//   x̂ = (a − μ)r,  h = γx̂ + β,  r = 1/√(variance + ε);  root mean square: μ = 0, r = 1/√(mean(a²) +
//   ε)
// With P(u) = u − mean(u) − x̂·mean(ux̂), without mean(u) for root mean square, and u = γδ:
//   d_a = r·P(u)
//   Rx̂ = r·P(Ra),  Rr = −r²·mean(x̂Ra),  Rh = γRx̂ + γ̇x̂ + β̇,  Ru = γRδ + γ̇δ
//   Rd_a = (Rr/r)·d_a + r·[P(Ru) − Rx̂·mean(ux̂) − x̂·mean(uRx̂)]
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "unstuck/error.hpp"
#include "unstuck/nn/layer.hpp"
#include "unstuck/norm/block_sums.hpp"
#include "unstuck/norm/origin.hpp"
#include "unstuck/norm/row_sums.hpp"

namespace unstuck::nn {
namespace {

using norm::row_sums;

constexpr std::int64_t kBlock = 8192;      // elements of the rows of one block
constexpr std::int64_t kTileChannels = 64; // whose parameter gradients are summed together

struct RowShape {
  std::int64_t channels, groups, repeats;
  double epsilon; // negative: the type's own
  bool centered, affine;
  std::vector<std::int64_t> parameter; // shape of γ and β
};

template <class T> class RowNorm final : public Layer<T> {
public:
  RowNorm(std::int64_t inputs, RowShape shape)
      : Layer<T>(inputs, inputs), shape_(shape), length_(inputs / shape.repeats / shape.groups),
        spatial_(inputs / shape.repeats / shape.channels),
        epsilon_(shape.epsilon < 0.0 ? std::numeric_limits<T>::epsilon() : shape.epsilon) {}

  std::vector<ParameterShape> parameters() const override {
    std::vector<ParameterShape> list;
    if (shape_.affine)
      list.push_back({"weight", shape_.parameter});
    if (has_bias())
      list.push_back({"bias", shape_.parameter});
    return list;
  }

  std::int64_t slope_per_row() const override { return 3 * shape_.groups * shape_.repeats; }

  void forward(Team team, std::int64_t rows, const T *theta, const T *, const T *a, T *h,
               T *slope) const override {
    each_row(team, rows, [&](std::int64_t row, std::int64_t channel) {
      const T *in = a + row * length_;
      const Statistics s = measure(in);
      if (slope)
        std::copy_n(std::array<T, 3>{s.high, s.low, s.r}.data(), 3, slope + 3 * row);
      T *out = h + row * length_;
      const T *gamma = gain(theta, channel), *beta = offset(theta, channel);
      each_element([&](std::int64_t j, std::int64_t c) {
        const T x = normalised(in[j], s);
        out[j] = (gamma ? gamma[c] * x : x) + (beta ? beta[c] : T(0));
      });
    });
  }

  void backward(Team team, std::int64_t rows, const T *theta, const T *a, const T *slope,
                const T *delta, T *d_a, T *gradient) const override {
    if (gradient)
      into_parameters(team, rows, a, slope, delta, nullptr, nullptr, gradient);
    if (!d_a)
      return;
    each_row(team, rows, [&](std::int64_t row, std::int64_t channel) {
      const T *in = a + row * length_, *d = delta + row * length_, *gamma = gain(theta, channel);
      const Statistics s = kept(slope, row);
      const auto [m0, m1] = means([&](std::int64_t j, std::int64_t c) {
        const T u = gamma ? gamma[c] * d[j] : d[j];
        return std::array<T, 2>{u, u * normalised(in[j], s)};
      });
      T *out = d_a + row * length_;
      each_element([&](std::int64_t j, std::int64_t c) {
        const T u = gamma ? gamma[c] * d[j] : d[j];
        out[j] = s.r * (u - centre(m0) - normalised(in[j], s) * m1);
      });
    });
  }

  void tangent_forward(Team team, std::int64_t rows, const T *theta, const T *v, const T *a,
                       const T *slope, const T *r_a, T *r_h) const override {
    if (r_a)
      tangent_of_normalised(team, rows, a, slope, r_a, r_h);
    each_row(team, rows, [&](std::int64_t row, std::int64_t channel) {
      const T *in = a + row * length_, *gamma = gain(theta, channel), *r_gamma = gain(v, channel),
              *r_beta = offset(v, channel);
      const Statistics s = kept(slope, row);
      T *out = r_h + row * length_;
      each_element([&](std::int64_t j, std::int64_t c) {
        const T r_x = r_a ? out[j] : T(0);
        out[j] = gamma ? gamma[c] * r_x + r_gamma[c] * normalised(in[j], s) : r_x;
        if (r_beta)
          out[j] += r_beta[c];
      });
    });
  }

  void tangent_backward(Team team, std::int64_t rows, const T *theta, const T *v, const T *a,
                        const T *slope, const T *, const T *delta, const T *r_a, const T *r_delta,
                        T *r_d_a, T *result) const override {
    if (r_a) // Rx̂ waits in r_d_a
      tangent_of_normalised(team, rows, a, slope, r_a, r_d_a);
    into_parameters(team, rows, a, slope, r_delta, r_a ? delta : nullptr, r_d_a, result);
    if (r_d_a)
      each_row(team, rows, [&](std::int64_t row, std::int64_t channel) {
        const std::int64_t at = row * length_;
        tangent_row(kept(slope, row), gain(theta, channel), gain(v, channel), a + at, delta + at,
                    r_a + at, r_delta + at, r_d_a + at);
      });
  }

private:
  struct Statistics {
    T high, low, r; // μ = high + low
  };

  bool has_bias() const { return shape_.affine && shape_.centered; }
  const T *gain(const T *parameters, std::int64_t channel) const {
    return shape_.affine ? parameters + channel : nullptr;
  }
  const T *offset(const T *parameters, std::int64_t channel) const {
    return has_bias() ? parameters + shape_.channels + channel : nullptr;
  }
  T centre(T mean) const { return shape_.centered ? mean : T(0); }
  static Statistics kept(const T *slope, std::int64_t row) {
    return {slope[3 * row], slope[3 * row + 1], slope[3 * row + 2]};
  }
  static T normalised(T x, const Statistics &s) { return ((x - s.high) - s.low) * s.r; }

  // body(row, its first channel) for all rows of all samples
  template <class Body> void each_row(Team team, std::int64_t rows, Body &&body) const {
    const std::int64_t count = rows * shape_.repeats * shape_.groups,
                       grain = std::max<std::int64_t>(1, kBlock / length_),
                       channels = shape_.channels / shape_.groups;
    team.blocks((count + grain - 1) / grain, 2 * rows * this->inputs(), [&](std::int64_t block) {
      for (std::int64_t row = block * grain; row < std::min(count, (block + 1) * grain); ++row)
        body(row, row % shape_.groups * channels);
    });
  }

  // body(position, channel within the row)
  template <class Body> void each_element(Body &&body) const {
    if (spatial_ == 1) {
#pragma GCC ivdep
      for (std::int64_t j = 0; j < length_; ++j)
        body(j, j);
      return;
    }
    for (std::int64_t c = 0; c * spatial_ < length_; ++c)
#pragma GCC ivdep
      for (std::int64_t j = c * spatial_; j < (c + 1) * spatial_; ++j)
        body(j, c);
  }

  // Means over a row of value(position, channel within the row), a pair.
  template <class Value> std::array<T, 2> means(Value &&value) const {
    std::array<double, 2> total{};
    const std::int64_t runs = spatial_ == 1 ? 1 : length_ / spatial_, run = length_ / runs;
    for (std::int64_t c = 0; c < runs; ++c) {
      const auto part = row_sums<2>(run, [&](std::int64_t i) {
        const auto v = value(c * run + i, spatial_ == 1 ? i : c);
        return std::array<double, 2>{static_cast<double>(v[0]), static_cast<double>(v[1])};
      });
      total[0] += part[0];
      total[1] += part[1];
    }
    const auto n = static_cast<double>(length_);
    return {static_cast<T>(total[0] / n), static_cast<T>(total[1] / n)};
  }

  // Sums of a − K and (a − K)², K as in origin.hpp.
  Statistics measure(const T *a) const {
    const double k = shape_.centered ? norm::run_origin(length_, a) : 0.0,
                 n = static_cast<double>(length_);
    const auto [sum, square] = norm::pair_of_sums<T>(
        [&](const auto &add) { add(length_, norm::moment_terms(a, k), [](std::int64_t) {}); },
        [&](const auto &s) { return norm::moments_suffice(n, shape_.centered, s); });
    const double mean = shape_.centered ? k + sum / n : 0.0,
                 spread = (shape_.centered ? square - sum * (sum / n) : square) / n;
    const double r = 1.0 / std::sqrt((spread < 0.0 ? 0.0 : spread) + epsilon_);
    const T high = static_cast<T>(mean);
    return {high, static_cast<T>(mean - static_cast<double>(high)), static_cast<T>(r)};
  }

  // Rx̂ = r·P(Ra)
  void tangent_of_normalised(Team team, std::int64_t rows, const T *a, const T *slope, const T *r_a,
                             T *r_x) const {
    each_row(team, rows, [&](std::int64_t row, std::int64_t) {
      const T *in = a + row * length_, *tangent = r_a + row * length_;
      const Statistics s = kept(slope, row);
      const auto [p0, p1] = means([&](std::int64_t j, std::int64_t) {
        return std::array<T, 2>{tangent[j], tangent[j] * normalised(in[j], s)};
      });
      T *out = r_x + row * length_;
      each_element([&](std::int64_t j, std::int64_t) {
        out[j] = s.r * (tangent[j] - centre(p0) - normalised(in[j], s) * p1);
      });
    });
  }

  // Rd_a of one row; `result` holds its Rx̂.
  void tangent_row(const Statistics &s, const T *gamma, const T *r_gamma, const T *a,
                   const T *delta, const T *r_a, const T *r_delta, T *result) const {
    const auto u = [=](std::int64_t j, std::int64_t c) {
      return gamma ? gamma[c] * delta[j] : delta[j];
    };
    const auto r_u = [=](std::int64_t j, std::int64_t c) {
      return gamma ? gamma[c] * r_delta[j] + r_gamma[c] * delta[j] : r_delta[j];
    };
    const auto [m0, m1] = means([&](std::int64_t j, std::int64_t c) {
      return std::array<T, 2>{u(j, c), u(j, c) * normalised(a[j], s)};
    });
    const auto [q0, q1] = means([&](std::int64_t j, std::int64_t c) {
      return std::array<T, 2>{r_u(j, c), r_u(j, c) * normalised(a[j], s)};
    });
    const auto [q2, p1] = means([&](std::int64_t j, std::int64_t c) {
      return std::array<T, 2>{u(j, c) * result[j], r_a[j] * normalised(a[j], s)};
    });
    each_element([&, m0 = m0, m1 = m1, q0 = q0, q1 = q1, q2 = q2, p1 = p1](std::int64_t j,
                                                                           std::int64_t c) {
      const T x = normalised(a[j], s), d_a = s.r * (u(j, c) - centre(m0) - x * m1);
      result[j] = s.r * (r_u(j, c) - centre(q0) - x * (q1 + q2) - result[j] * m1) - s.r * p1 * d_a;
    });
  }

  // γ̄ += Σ δx̂ (+ Σ δ₂·second), β̄ += Σ δ, channel by channel in the order of the samples.
  void into_parameters(Team team, std::int64_t rows, const T *a, const T *slope, const T *delta,
                       const T *delta2, const T *second, T *gradient) const {
    if (!shape_.affine)
      return;
    const std::int64_t tiles = (shape_.channels + kTileChannels - 1) / kTileChannels,
                       per_group = shape_.channels / shape_.groups;
    team.blocks(tiles, 2 * rows * this->inputs(), [&](std::int64_t tile) {
      const std::int64_t first = tile * kTileChannels,
                         last = std::min(shape_.channels, first + kTileChannels);
      double sum[2][kTileChannels] = {};
      for (std::int64_t row = 0; row < rows * shape_.repeats; ++row)
        for (std::int64_t c = first; c < last; ++c) {
          const Statistics s = kept(slope, row * shape_.groups + c / per_group);
          const std::int64_t begin = (row * shape_.channels + c) * spatial_;
          for (std::int64_t i = begin; i < begin + spatial_; ++i) {
            double term = static_cast<double>(delta[i]) * static_cast<double>(normalised(a[i], s));
            if (delta2)
              term += static_cast<double>(delta2[i]) * static_cast<double>(second[i]);
            sum[0][c - first] += term;
            sum[1][c - first] += static_cast<double>(delta[i]);
          }
        }
      for (std::int64_t c = first; c < last; ++c) {
        gradient[c] += static_cast<T>(sum[0][c - first]);
        if (has_bias())
          gradient[shape_.channels + c] += static_cast<T>(sum[1][c - first]);
      }
    });
  }

  RowShape shape_;
  std::int64_t length_, spatial_;
  double epsilon_;
};

} // namespace

std::vector<std::string> normalization_kinds() { return {"LayerNorm", "RMSNorm", "GroupNorm"}; }

template <class T>
std::unique_ptr<Layer<T>> make_normalization(const LayerSpec &spec, std::int64_t inputs) {
  const auto kinds = normalization_kinds();
  if (std::find(kinds.begin(), kinds.end(), spec.kind) == kinds.end())
    return nullptr;
  RowShape shape{0, 1, 1, spec.option("eps"), spec.kind != "RMSNorm", spec.option("affine") != 0.0,
                 {}};
  if (spec.kind == "GroupNorm") {
    shape.channels = static_cast<std::int64_t>(spec.option("channels"));
    shape.groups = static_cast<std::int64_t>(spec.option("groups"));
    require(shape.channels > 0 && inputs % shape.channels == 0, "GroupNorm expects ",
            shape.channels, " channels, but ", inputs, " features arrive");
    require(shape.groups > 0 && shape.channels % shape.groups == 0, "GroupNorm's ", shape.groups,
            " groups do not divide its ", shape.channels, " channels");
    shape.parameter = {shape.channels};
  } else {
    shape.channels = 1;
    for (int axis = 0; axis < static_cast<int>(spec.option("axes")); ++axis) {
      const auto extent = static_cast<std::int64_t>(spec.option("extent_" + std::to_string(axis)));
      require(extent > 0, spec.kind, " needs positive extents, got ", extent);
      shape.parameter.push_back(extent);
      shape.channels = product(shape.channels, extent, "the features");
    }
    require(inputs % shape.channels == 0, spec.kind, " expects ", shape.channels,
            " input features, but ", inputs, " arrive");
    shape.repeats = inputs / shape.channels;
  }
  require(inputs / shape.repeats / shape.groups > 1 || !shape.centered, spec.kind,
          " needs more than one element per group: the variance of one is 0 whatever it is");
  return std::make_unique<RowNorm<T>>(inputs, shape);
}

template std::unique_ptr<Layer<float>> make_normalization<float>(const LayerSpec &, std::int64_t);
template std::unique_ptr<Layer<double>> make_normalization<double>(const LayerSpec &, std::int64_t);

} // namespace unstuck::nn
