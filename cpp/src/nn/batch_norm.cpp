// Batch normalisation as a layer: a sample is C channels of S positions.
//
// With x̂ = (a − μ)r of the batch, which is then one function of all its samples, and G̃ of
// batch_statistics.hpp: h = γ(s·x̂ + d) + β, where s and d are constants (1 and 0 but in batch
// renormalisation); m is the mean over the batch, u = γsδ:
//   d_a = r·[u − m(u) − m(ux̂)·G̃]
//   Rx̂ = r·[Ra − m(Ra) − m(G̃Ra)·x̂],  Rr/r = −r·m(G̃Ra),  Ru = γsRδ + γ̇sδ
//   Rd_a = (Rr/r)·d_a + r·[Ru − m(Ru) − (m(Rux̂) + m(uRx̂))·G̃ − m(ux̂)·RG]
// where RG = Rx̂ if G = x̂, else 0. With running statistics all means are left out.
#include <array>
#include <cmath>

#include "unstuck/error.hpp"
#include "unstuck/nn/batch_statistics.hpp"
#include "unstuck/norm/batch_norm.hpp"

namespace unstuck::nn {
namespace {

using norm::Layout;
using norm::scratch;
using norm::Sums;

// kinked: G = x̂ does not hold
template <class T, bool kinked> class BatchNorm final : public Layer<T> {
public:
  BatchNorm(std::int64_t inputs, BatchNormOptions options)
      : Layer<T>(inputs, inputs), options_(options), spatial_(inputs / options.channels) {}

  std::vector<ParameterShape> parameters() const override {
    std::vector<ParameterShape> list;
    if (options_.has_gain())
      list.push_back({"weight", {channels()}});
    if (options_.affine)
      list.push_back({"bias", {channels()}});
    return list;
  }

  std::vector<LayerBuffer> buffers() const override { return running_buffers(options_); }
  bool coupled(bool training) const override { return options_.of_batch(training); }
  std::int64_t fewest_rows(bool training) const override {
    return options_.of_batch(training) && spatial_ == 1 ? 2 : 1;
  }
  std::int64_t slope_per_pass() const override { return kKept * channels() + 1; }

  void forward(Team team, std::int64_t rows, const T *theta, const T *buffers, const T *a, T *h,
               T *slope) const override {
    const norm::Shape shape{rows, channels(), spatial_};
    auto *const statistics = scratch<struct Measured, ChannelStatistics>(channels());
    if (!options_.of_batch(team.training)) {
      for (std::int64_t c = 0; c < channels(); ++c)
        statistics[c] = running_statistics(options_, buffers, c);
      apply(shape, theta, statistics, a, h);
    } else if (options_.spread == Spread::deviation && !options_.renormalises) {
      double *const mean = scratch<struct Means, double>(3 * channels()),
                    *const variance = mean + channels(), *const r = variance + channels();
      norm::batch_norm_forward(shape, options_.epsilon, a, {gain(theta), offset(theta)}, mean,
                               variance, r, h);
      for (std::int64_t c = 0; c < channels(); ++c)
        statistics[c] = of_moments(options_, mean[c], variance[c]);
    } else {
      measure_batch(options_, shape, a, buffers, statistics);
      apply(shape, theta, statistics, a, h);
    }
    for (std::int64_t c = 0; c < channels(); ++c)
      keep(statistics[c], slope + kKept * c);
    slope[kKept * channels()] = T(steps_seen(options_, buffers) >= options_.affine_from);
  }

  void update_buffers(std::int64_t rows, const T *slope, T *buffers) const override {
    if (options_.track && !options_.frozen)
      average_batch(options_, rows * spatial_, kept(slope), buffers);
  }

  void backward(Team team, std::int64_t rows, const T *theta, const T *a, const T *slope,
                const T *delta, T *d_a, T *gradient) const override {
    const Pass pass(*this, team, rows, slope);
    const double *const centre = pass.centre;
    const Sums<2> *const sums =
        norm::channel_sums<2>(pass.layout, [=](std::int64_t i, std::int64_t unit) {
          const auto d = static_cast<double>(delta[i]);
          return Sums<2>{d, d * (static_cast<double>(a[i]) - centre[unit])};
        });
    auto *const table = scratch<struct BackwardTable, Constants<3>>(channels());
    for (std::int64_t c = 0; c < channels(); ++c) {
      const ChannelStatistics &s = pass.statistics[c];
      const double sum = sums[c][0], product = sums[c][1] * s.r;
      if (gradient && pass.moves_affine)
        add_affine(c, s.scale * product + s.shift * sum, sum, gradient);
      const double scale = s.r * gamma(theta, c) * s.scale,
                   slant = pass.tilt * product / pass.count;
      table[c] = constants<3>(
          s, {scale, scale * (pass.on * sum / pass.count - slant * s.slope_mean), scale * slant});
    }
    if (d_a)
      norm::write_elements<kHead + 3>(
          pass.layout, [=](std::int64_t c) { return table[c]; }, target(d_a, rows),
          [=](norm::One, std::int64_t i, const Constants<3> &k) {
            const T g = direction(a[i], normalised(a[i], k), k);
            return k[kHead] * delta[i] - k[kHead + 1] - k[kHead + 2] * g;
          });
  }

  void tangent_forward(Team team, std::int64_t rows, const T *theta, const T *v, const T *a,
                       const T *slope, const T *r_a, T *r_h) const override {
    const Pass pass(*this, team, rows, slope);
    const Sums<2> *const sums = r_a && pass.on > 0.0 ? tangent_sums(pass, a, r_a) : nullptr;
    auto *const table = scratch<struct TangentTable, Constants<5>>(channels());
    for (std::int64_t c = 0; c < channels(); ++c) {
      const ChannelStatistics &s = pass.statistics[c];
      const auto [p0, p1] =
          sums ? tangent_means(pass, s, sums[c][0], sums[c][1]) : std::array<double, 2>{};
      const double r_gamma = pass.moves_affine ? gain_of(v, c) : 0.0,
                   r_beta = pass.moves_affine ? offset_of(v, c) : 0.0;
      table[c] = constants<5>(s, {s.r * gamma(theta, c) * s.scale, p0, p1, r_gamma * s.scale,
                                  r_gamma * s.shift + r_beta});
    }
    norm::write_elements<kHead + 5>(
        pass.layout, [=](std::int64_t c) { return table[c]; }, target(r_h, rows),
        [=](norm::One, std::int64_t i, const Constants<5> &k) {
          const T x = normalised(a[i], k), tangent = r_a ? r_a[i] : T(0);
          return k[kHead] * (tangent - k[kHead + 1] - x * k[kHead + 2]) + k[kHead + 3] * x +
                 k[kHead + 4];
        });
  }

  void tangent_backward(Team team, std::int64_t rows, const T *theta, const T *v, const T *a,
                        const T *slope, const T *, const T *delta, const T *r_a, const T *r_delta,
                        T *r_d_a, T *result) const override {
    const Pass pass(*this, team, rows, slope);
    const Sums<7> *const sums = second_sums(pass, a, delta, r_a, r_delta);
    auto *const table = scratch<struct SecondTable, Constants<10>>(channels());
    for (std::int64_t c = 0; c < channels(); ++c)
      table[c] = second_constants(pass, c, theta, v, sums[c], result);
    if (r_d_a)
      norm::write_elements<kHead + 10>(
          pass.layout, [=](std::int64_t c) { return table[c]; }, target(r_d_a, rows),
          [=](norm::One, std::int64_t i, const Constants<10> &k) {
            constexpr std::size_t first = kHead;
            const T r = k[2], x = normalised(a[i], k), g = direction(a[i], x, k);
            const T d_a = r * (k[first] * delta[i] - k[first + 4] - k[first + 5] * g);
            T r_u =
                k[first] * r_delta[i] + k[first + 1] * delta[i] - k[first + 6] - k[first + 7] * g;
            if constexpr (!kinked)
              r_u -= r * (r_a[i] - k[first + 2] - x * k[first + 3]) * k[first + 8];
            return r * r_u - k[first + 9] * d_a;
          });
  }

private:
  static constexpr std::size_t kValues = 9, kKept = 2 * kValues; // each in two parts
  static constexpr std::size_t kHead = kinked ? 6 : 3; // {μ, its rest, r} and {top, bottom, weight}
  template <std::size_t more> using Constants = std::array<T, kHead + more>;

  // What all derivatives of one pass share.
  struct Pass {
    Layout layout;
    double count;
    const ChannelStatistics *statistics;
    const double *centre; // μ of each unit
    double on, tilt;      // 1 if μ, or r, is a function of the batch, else 0
    bool moves_affine;

    Pass(const BatchNorm &layer, Team team, std::int64_t rows, const T *slope)
        : layout({rows, layer.channels(), layer.spatial_}),
          count(static_cast<double>(rows * layer.spatial_)), statistics(layer.kept(slope)),
          on(layer.options_.of_batch(team.training)),
          tilt(layer.options_.spread == Spread::none ? 0.0 : on),
          moves_affine(layer.options_.affine && slope[kKept * layer.channels()] != T(0)) {
      double *const values = scratch<struct Centre, double>(layout.units);
      for (std::int64_t unit = 0; unit < layout.units; ++unit)
        values[unit] = statistics[layout.channel(unit)].mean;
      centre = values;
    }
  };

  std::int64_t channels() const { return options_.channels; }
  const T *gain(const T *theta) const { return options_.has_gain() ? theta : nullptr; }
  const T *offset(const T *theta) const {
    return options_.affine ? theta + (options_.has_gain() ? channels() : 0) : nullptr;
  }
  double gain_of(const T *v, std::int64_t c) const {
    return options_.has_gain() ? static_cast<double>(v[c]) : 0.0;
  }
  double offset_of(const T *v, std::int64_t c) const { return static_cast<double>(offset(v)[c]); }
  double gamma(const T *theta, std::int64_t c) const {
    return options_.has_gain() ? static_cast<double>(theta[c]) : 1.0;
  }
  void add_affine(std::int64_t c, double to_gain, double to_offset, T *gradient) const {
    if (options_.has_gain())
      gradient[c] += static_cast<T>(to_gain);
    gradient[(options_.has_gain() ? channels() : 0) + c] += static_cast<T>(to_offset);
  }
  norm::Target<T> target(T *out, std::int64_t rows) const {
    return norm::Target<T>(out, rows * this->inputs());
  }

  // h with known statistics
  void apply(norm::Shape shape, const T *theta, const ChannelStatistics *statistics, const T *a,
             T *h) const {
    double *const mean = scratch<struct AppliedMeans, double>(2 * channels()), *const r =
                                                                                   mean +
                                                                                   channels();
    T *const shift = scratch<struct Shifts, T>(channels());
    const T *const beta = offset(theta);
    for (std::int64_t c = 0; c < channels(); ++c) {
      const ChannelStatistics &s = statistics[c];
      mean[c] = s.mean;
      r[c] = s.r * s.scale;
      shift[c] =
          static_cast<T>(gamma(theta, c) * s.shift + (beta ? static_cast<double>(beta[c]) : 0.0));
    }
    norm::batch_norm_apply(shape, a, mean, r, norm::Affine<T>{gain(theta), shift}, h);
  }

  template <std::size_t more>
  static Constants<more> constants(const ChannelStatistics &s, std::array<double, more> rest) {
    Constants<more> k{};
    k[0] = static_cast<T>(s.mean);
    k[1] = static_cast<T>(s.mean - static_cast<double>(k[0]));
    k[2] = static_cast<T>(s.r);
    if constexpr (kinked) {
      k[3] = static_cast<T>(s.top);
      k[4] = static_cast<T>(s.bottom);
      k[5] = static_cast<T>(s.weight);
    }
    for (std::size_t i = 0; i < more; ++i)
      k[kHead + i] = static_cast<T>(rest[i]);
    return k;
  }
  template <class K> static T normalised(T a, const K &k) { return ((a - k[0]) - k[1]) * k[2]; }

  // G of one value
  template <class V> static V kink(V a, V x, V top, V bottom, V weight) {
    return weight != V(0) ? weight * (V(a == top) - V(a == bottom)) : V(x > V(0)) - V(x < V(0));
  }
  template <class K> static T direction(T a, T x, const K &k) {
    if constexpr (kinked)
      return kink(a, x, k[3], k[4], k[5]);
    else
      return x;
  }

  // G·Ra, but for a factor r if G = x̂
  static double along(const Pass &pass, std::int64_t unit, double a, double tangent) {
    if constexpr (!kinked)
      return tangent * (a - pass.centre[unit]);
    const ChannelStatistics &s = pass.statistics[pass.layout.channel(unit)];
    return tangent * kink(a, a - s.mean, s.top, s.bottom, s.weight);
  }
  const Sums<2> *tangent_sums(const Pass &pass, const T *a, const T *r_a) const {
    return norm::channel_sums<2>(pass.layout, [=, &pass](std::int64_t i, std::int64_t unit) {
      const auto t = static_cast<double>(r_a[i]);
      return Sums<2>{t, along(pass, unit, static_cast<double>(a[i]), t)};
    });
  }
  // m(Ra) and m(G̃Ra), where μ and r depend on the batch
  static std::array<double, 2> tangent_means(const Pass &pass, const ChannelStatistics &s,
                                             double sum, double product) {
    const double mean = sum / pass.count, tilted = product * (kinked ? 1.0 : s.r) / pass.count;
    return {pass.on * mean, pass.tilt * (tilted - s.slope_mean * mean)};
  }

  // δ, δ(a − μ), Rδ, Rδ(a − μ), Ra, GRa, δRa
  const Sums<7> *second_sums(const Pass &pass, const T *a, const T *delta, const T *r_a,
                             const T *r_delta) const {
    return norm::channel_sums<7>(pass.layout, [=, &pass](std::int64_t i, std::int64_t unit) {
      const auto in = static_cast<double>(a[i]), d = static_cast<double>(delta[i]),
                 r_d = static_cast<double>(r_delta[i]), t = r_a ? static_cast<double>(r_a[i]) : 0.0;
      const double x = in - pass.centre[unit];
      return Sums<7>{d, d * x, r_d, r_d * x, t, along(pass, unit, in, t), d * t};
    });
  }

  // {γs, γ̇s, m(Ra), m(G̃Ra), offset and slope of d_a, those of R{…}, m(ux̂), r·m(G̃Ra)}; adds the
  // parameters' part to the product.
  Constants<10> second_constants(const Pass &pass, std::int64_t c, const T *theta, const T *v,
                                 const Sums<7> &m, T *product) const {
    const ChannelStatistics &s = pass.statistics[c];
    const double d0 = m[0] / pass.count, d1 = m[1] * s.r / pass.count, e0 = m[2] / pass.count,
                 e1 = m[3] * s.r / pass.count;
    const auto [p0, p1] = tangent_means(pass, s, m[4], m[5]);
    const double d_rx = s.r * (m[6] / pass.count - p0 * d0 - p1 * d1); // m(δRx̂)
    if (pass.moves_affine)
      add_affine(c, pass.count * (s.scale * (e1 + d_rx) + s.shift * e0), pass.count * e0, product);
    const double g = gamma(theta, c) * s.scale,
                 r_g = (pass.moves_affine ? gain_of(v, c) : 0.0) * s.scale, ux = pass.tilt * g * d1,
                 r_ux = pass.tilt * (g * e1 + r_g * d1 + g * d_rx);
    return constants<10>(s,
                         {g, r_g, p0, p1, pass.on * g * d0 - ux * s.slope_mean, ux,
                          pass.on * (g * e0 + r_g * d0) - r_ux * s.slope_mean, r_ux, ux, s.r * p1});
  }

  static void keep(const ChannelStatistics &s, T *slope) {
    const std::array<double, kValues> values{s.mean,       s.r,   s.spread, s.scale, s.shift,
                                             s.slope_mean, s.top, s.bottom, s.weight};
    for (std::size_t k = 0; k < kValues; ++k) {
      slope[2 * k] = static_cast<T>(values[k]);
      const double rest = values[k] - static_cast<double>(slope[2 * k]);
      slope[2 * k + 1] = std::isfinite(rest) ? static_cast<T>(rest) : T(0);
    }
  }
  const ChannelStatistics *kept(const T *slope) const {
    auto *const statistics = scratch<struct Kept, ChannelStatistics>(channels());
    for (std::int64_t c = 0; c < channels(); ++c) {
      const T *const at = slope + static_cast<std::int64_t>(kKept) * c;
      const auto sum = [at](int k) {
        return static_cast<double>(at[2 * k]) + static_cast<double>(at[2 * k + 1]);
      };
      statistics[c] = {sum(0), sum(1), sum(2), sum(3), sum(4), sum(5), sum(6), sum(7), sum(8)};
    }
    return statistics;
  }

  BatchNormOptions options_;
  std::int64_t spatial_;
};

BatchNormOptions options_of(const LayerSpec &spec, std::int64_t inputs) {
  BatchNormOptions options;
  options.channels = static_cast<std::int64_t>(spec.option("channels"));
  options.epsilon = spec.option("eps");
  options.momentum = spec.option("momentum");
  options.affine = spec.option("affine") != 0.0;
  options.renormalises = spec.kind == "BatchRenorm";
  require(options.channels > 0 && inputs % options.channels == 0, spec.kind, " expects ",
          options.channels, " channels, but ", inputs, " features arrive");
  if (options.renormalises) {
    options.of_deviation = true;
    options.renormalisation = {spec.option("r_max"), spec.option("d_max"), spec.option("warm_up"),
                               spec.option("r_end"), spec.option("d_end")};
    return options;
  }
  const double spread = spec.option("spread");
  require(spread >= 0.0 && spread <= 3.0, "BatchNorm knows no spread ", spread);
  options.spread = static_cast<Spread>(static_cast<int>(spread));
  options.of_deviation = spec.option("of_deviation") != 0.0;
  options.track = spec.option("track") != 0.0;
  options.frozen = spec.option("frozen") != 0.0;
  options.affine_from = spec.option("affine_from");
  require(options.track || (!options.frozen && options.affine_from == 0.0),
          "BatchNorm without running statistics can neither be frozen nor count its steps");
  return options;
}

} // namespace

std::vector<std::string> batch_norm_kinds() { return {"BatchNorm", "BatchRenorm"}; }

template <class T>
std::unique_ptr<Layer<T>> make_batch_norm(const LayerSpec &spec, std::int64_t inputs) {
  if (spec.kind != "BatchNorm" && spec.kind != "BatchRenorm")
    return nullptr;
  const BatchNormOptions options = options_of(spec, inputs);
  if (options.kinked())
    return std::make_unique<BatchNorm<T, true>>(inputs, options);
  return std::make_unique<BatchNorm<T, false>>(inputs, options);
}

template std::unique_ptr<Layer<float>> make_batch_norm<float>(const LayerSpec &, std::int64_t);
template std::unique_ptr<Layer<double>> make_batch_norm<double>(const LayerSpec &, std::int64_t);

} // namespace unstuck::nn
