// Batch normalisation as a layer: a sample is C channels of S positions.
//
// In training μ and r belong to the batch, which is then one function of all its samples:
//   x̂ = (a − μ)r,  h = γx̂ + β;  P(u) = u − mean(u) − x̂·mean(ux̂), means over the batch, u = γδ
//   d_a = r·P(u);  Rx̂ = r·P(Ra),  Rr = −r²·mean(x̂Ra),  Ru = γRδ + γ̇δ
//   Rd_a = (Rr/r)·d_a + r·[P(Ru) − Rx̂·mean(ux̂) − x̂·mean(uRx̂)]
// In evaluation they are the running statistics, constants: P(u) = u, Rr = 0.
#include "unstuck/norm/batch_norm.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <vector>

#include "unstuck/error.hpp"
#include "unstuck/nn/layer.hpp"

namespace unstuck::nn {
namespace {

using norm::Layout;
using norm::Sums;

struct BatchNormOptions {
  std::int64_t channels;
  double epsilon, momentum; // weight of the new batch; negative: the average of all batches
  bool affine;
};

template <class T> class BatchNorm final : public Layer<T> {
public:
  BatchNorm(std::int64_t inputs, BatchNormOptions options)
      : Layer<T>(inputs, inputs), options_(options), spatial_(inputs / options.channels) {}

  std::vector<ParameterShape> parameters() const override {
    if (!options_.affine)
      return {};
    return {{"weight", {channels()}}, {"bias", {channels()}}};
  }

  std::vector<typename Layer<T>::Buffer> buffers() const override {
    return {{{"running_mean", {channels()}}, 0.0},
            {{"running_var", {channels()}}, 1.0},
            {{"batches", {1}}, 0.0}};
  }

  bool coupled() const override { return true; }
  std::int64_t fewest_rows() const override { return spatial_ > 1 ? 1 : 2; }
  std::int64_t slope_per_pass() const override { return kKept * channels(); }

  void forward(Team team, std::int64_t rows, const T *theta, const T *buffers, const T *a, T *h,
               T *slope) const override {
    const norm::Shape shape{rows, channels(), spatial_};
    const auto c = static_cast<std::size_t>(channels());
    std::vector<double> mean(c), variance(c), r(c);
    const norm::Affine<T> affine{gain(theta), options_.affine ? theta + channels() : nullptr};
    if (team.training) {
      norm::batch_norm_forward(shape, options_.epsilon, a, affine, mean.data(), variance.data(),
                               r.data(), h);
    } else {
      for (std::size_t i = 0; i < c; ++i) {
        mean[i] = static_cast<double>(buffers[i]);
        variance[i] = static_cast<double>(buffers[c + i]);
        r[i] = 1.0 / std::sqrt(variance[i] + options_.epsilon);
      }
      norm::batch_norm_apply(shape, a, mean.data(), r.data(), affine, h);
    }
    for (std::size_t i = 0; i < c; ++i)
      keep(slope + kKept * static_cast<std::int64_t>(i), {mean[i], r[i], variance[i]});
  }

  void update_buffers(std::int64_t rows, const T *slope, T *buffers) const override {
    T *mean = buffers, *variance = buffers + channels(), &batches = buffers[2 * channels()];
    batches += T(1);
    const double share = options_.momentum < 0.0 ? 1.0 / static_cast<double>(batches)
                                                 : options_.momentum,
                 count = static_cast<double>(rows * spatial_);
    for (std::int64_t c = 0; c < channels(); ++c) {
      const Statistics s = kept(slope, c);
      const double unbiased = s.variance * (count / (count - 1.0));
      mean[c] = static_cast<T>((1.0 - share) * static_cast<double>(mean[c]) + share * s.mean);
      variance[c] =
          static_cast<T>((1.0 - share) * static_cast<double>(variance[c]) + share * unbiased);
    }
  }

  void backward(Team team, std::int64_t rows, const T *theta, const T *a, const T *slope,
                const T *delta, T *d_a, T *gradient) const override {
    const Layout layout({rows, channels(), spatial_});
    const double count = static_cast<double>(rows * spatial_);
    const auto centre = means(layout, slope);
    const auto sums =
        norm::channel_sums<2>(layout, [=, mu = centre.data()](std::int64_t i, std::int64_t unit) {
          const auto d = static_cast<double>(delta[i]);
          return Sums<2>{d, d * (static_cast<double>(a[i]) - mu[unit])};
        });
    std::vector<std::array<T, 6>> table;
    for (std::int64_t c = 0; c < channels(); ++c) {
      const Statistics s = kept(slope, c);
      const double sum = sums[at(c)][0], product = sums[at(c)][1] * s.r,
                   scale = s.r * gamma(theta, c), share = team.training ? scale / count : 0.0;
      if (gradient && options_.affine) {
        gradient[c] += static_cast<T>(product);
        gradient[channels() + c] += static_cast<T>(sum);
      }
      table.push_back(
          {high(s.mean), low(s.mean), T(s.r), T(scale), T(share * sum), T(share * product)});
    }
    if (d_a)
      norm::write_elements<6>(
          layout, [&](std::int64_t c) { return table[at(c)]; }, target(d_a, rows),
          [=](std::int64_t i, const std::array<T, 6> &k) {
            const T x = ((a[i] - k[0]) - k[1]) * k[2];
            return k[3] * delta[i] - k[4] - k[5] * x;
          });
  }

  void tangent_forward(Team team, std::int64_t rows, const T *theta, const T *v, const T *a,
                       const T *slope, const T *r_a, T *r_h) const override {
    const Layout layout({rows, channels(), spatial_});
    const double count = static_cast<double>(rows * spatial_);
    const auto centre = means(layout, slope);
    std::vector<Sums<2>> sums(at(channels()));
    if (r_a && team.training)
      sums =
          norm::channel_sums<2>(layout, [=, mu = centre.data()](std::int64_t i, std::int64_t unit) {
            const auto d = static_cast<double>(r_a[i]);
            return Sums<2>{d, d * (static_cast<double>(a[i]) - mu[unit])};
          });
    std::vector<std::array<T, 8>> table; // Rh = γr(Ra − p₀ − x̂p₁) + γ̇x̂ + β̇
    for (std::int64_t c = 0; c < channels(); ++c) {
      const Statistics s = kept(slope, c);
      const double p0 = sums[at(c)][0] / count, p1 = sums[at(c)][1] * s.r / count;
      table.push_back({high(s.mean), low(s.mean), T(s.r), T(s.r * gamma(theta, c)), T(p0), T(p1),
                       options_.affine ? v[c] : T(0), options_.affine ? v[channels() + c] : T(0)});
    }
    norm::write_elements<8>(
        layout, [&](std::int64_t c) { return table[at(c)]; }, target(r_h, rows),
        [=](std::int64_t i, const std::array<T, 8> &k) {
          const T x = ((a[i] - k[0]) - k[1]) * k[2], tangent = r_a ? r_a[i] : T(0);
          return k[3] * (tangent - k[4] - x * k[5]) + k[6] * x + k[7];
        });
  }

  void tangent_backward(Team team, std::int64_t rows, const T *theta, const T *v, const T *a,
                        const T *slope, const T *, const T *delta, const T *r_a, const T *r_delta,
                        T *r_d_a, T *result) const override {
    const Layout layout({rows, channels(), spatial_});
    const double count = static_cast<double>(rows * spatial_);
    const auto centre = means(layout, slope);
    // δ, δ(a − μ), Rδ, Rδ(a − μ), Ra, Ra(a − μ), δRa
    const auto sums =
        norm::channel_sums<7>(layout, [=, mu = centre.data()](std::int64_t i, std::int64_t unit) {
          const double x = static_cast<double>(a[i]) - mu[unit], d = static_cast<double>(delta[i]),
                       r_d = static_cast<double>(r_delta[i]),
                       t = r_a ? static_cast<double>(r_a[i]) : 0.0;
          return Sums<7>{d, d * x, r_d, r_d * x, t, t * x, d * t};
        });
    std::vector<std::array<T, 12>> table;
    for (std::int64_t c = 0; c < channels(); ++c) {
      const Statistics s = kept(slope, c);
      const Sums<7> &m = sums[at(c)];
      const double on = team.training ? 1.0 : 0.0, g = gamma(theta, c),
                   r_g = options_.affine ? v[c] : 0.0;
      const double d0 = m[0] / count, d1 = m[1] * s.r / count, e0 = m[2] / count,
                   e1 = m[3] * s.r / count, p0 = on * m[4] / count, p1 = on * m[5] * s.r / count;
      const double d_rx = s.r * (m[6] / count - p0 * d0 - p1 * d1); // mean(δRx̂)
      if (options_.affine) {
        result[c] += static_cast<T>(count * (e1 + d_rx));
        result[channels() + c] += static_cast<T>(count * e0);
      }
      const double q0 = on * (g * e0 + r_g * d0), q12 = on * (g * e1 + r_g * d1 + g * d_rx);
      table.push_back({high(s.mean), low(s.mean), T(s.r), T(g), T(r_g), T(p0), T(p1),
                       T(on * g * d0), T(on * g * d1), T(q0), T(q12), T(s.r * p1)});
    }
    if (r_d_a)
      norm::write_elements<12>(
          layout, [&](std::int64_t c) { return table[at(c)]; }, target(r_d_a, rows),
          [=](std::int64_t i, const std::array<T, 12> &k) {
            const T x = ((a[i] - k[0]) - k[1]) * k[2], r_x = k[2] * (r_a[i] - k[5] - x * k[6]);
            const T d_a = k[2] * (k[3] * delta[i] - k[7] - x * k[8]);
            return k[2] * (k[3] * r_delta[i] + k[4] * delta[i] - k[9] - x * k[10] - r_x * k[8]) -
                   k[11] * d_a;
          });
  }

private:
  static constexpr std::int64_t kKept = 6; // μ, r and variance, each in two parts

  struct Statistics {
    double mean, r, variance;
  };

  std::int64_t channels() const { return options_.channels; }
  static std::size_t at(std::int64_t c) { return static_cast<std::size_t>(c); }
  static T high(double x) { return static_cast<T>(x); }
  static T low(double x) { return static_cast<T>(x - static_cast<double>(static_cast<T>(x))); }
  const T *gain(const T *theta) const { return options_.affine ? theta : nullptr; }
  double gamma(const T *theta, std::int64_t c) const {
    return options_.affine ? static_cast<double>(theta[c]) : 1.0;
  }
  norm::Target<T> target(T *out, std::int64_t rows) const {
    norm::Target<T> target(out, rows * this->inputs());
    target.stream = false; // the next layer reads it at once
    return target;
  }

  static void keep(T *slope, Statistics s) {
    const double values[3] = {s.mean, s.r, s.variance};
    for (int k = 0; k < 3; ++k) {
      slope[2 * k] = high(values[k]);
      slope[2 * k + 1] = low(values[k]);
    }
  }
  static Statistics kept(const T *slope, std::int64_t c) {
    const T *s = slope + kKept * c;
    const auto sum = [s](int k) {
      return static_cast<double>(s[2 * k]) + static_cast<double>(s[2 * k + 1]);
    };
    return {sum(0), sum(1), sum(2)};
  }
  static std::vector<double> means(const Layout &layout, const T *slope) {
    std::vector<double> values(static_cast<std::size_t>(layout.units));
    for (std::int64_t unit = 0; unit < layout.units; ++unit)
      values[static_cast<std::size_t>(unit)] = kept(slope, layout.channel(unit)).mean;
    return values;
  }

  BatchNormOptions options_;
  std::int64_t spatial_;
};

} // namespace

template <class T>
std::unique_ptr<Layer<T>> make_batch_norm(const LayerSpec &spec, std::int64_t inputs) {
  if (spec.kind != "BatchNorm")
    return nullptr;
  const BatchNormOptions options{static_cast<std::int64_t>(spec.option("channels")),
                                 spec.option("eps"), spec.option("momentum"),
                                 spec.option("affine") != 0.0};
  require(options.channels > 0 && inputs % options.channels == 0, "BatchNorm expects ",
          options.channels, " channels, but ", inputs, " features arrive");
  return std::make_unique<BatchNorm<T>>(inputs, options);
}

template std::unique_ptr<Layer<float>> make_batch_norm<float>(const LayerSpec &, std::int64_t);
template std::unique_ptr<Layer<double>> make_batch_norm<double>(const LayerSpec &, std::int64_t);

} // namespace unstuck::nn
