// Batch normalisation: the sums, then their use; channel by channel where a channel fits the cache.
#include "unstuck/norm/batch_norm.hpp"

#include <array>
#include <cmath>

#include "unstuck/norm/origin.hpp"

namespace unstuck::norm {
namespace {

// A number per channel, laid out by unit.
template <class Use, class OfChannel>
const double *by_unit(const Layout &layout, OfChannel &&of_channel) {
  double *const values = scratch<Use, double>(layout.units);
  for (std::int64_t unit = 0; unit < layout.units; ++unit)
    values[unit] = of_channel(layout.channel(unit));
  return values;
}

// Σ(x − K) and Σ(x − K)², K near most of the channel: its moments without loss of digits.
template <class T> class Deviations {
public:
  Deviations(const Layout &layout, Shape shape, const T *x)
      : x_(x), count_(static_cast<double>(shape.per_channel())),
        units_per_channel_(layout.units_per_channel),
        origin_(by_unit<struct Origin>(layout, [&](std::int64_t c) {
          const T *const half = x + shape.samples / 2 * shape.channels * shape.spatial,
                         *const last = x + (shape.samples - 1) * shape.channels * shape.spatial;
          const std::int64_t begin = c * shape.spatial;
          return middle(x[begin], half[begin + shape.spatial / 2], last[begin + shape.spatial - 1]);
        })) {}

  auto terms() const {
    return [x = x_, k = origin_](std::int64_t i, std::int64_t unit) {
      const double d = static_cast<double>(x[i]) - k[unit];
      return Sums<2>{d, d * d};
    };
  }
  Sums<2> of_channel(const Layout &layout, std::int64_t channel) const {
    const double k = origin_[channel];
    return channel_sum<T>(
        layout, channel, {x_, nullptr},
        [=, this](std::int64_t offset) { return moment_terms(x_ + offset, k); },
        [=, this](const Sums<2> &s) { return moments_suffice(count_, true, s); });
  }
  void moments(std::int64_t channel, const Sums<2> &s, double *mean, double *variance) const {
    const double spread = (s[1] - s[0] * (s[0] / count_)) / count_;
    mean[channel] = origin_[channel * units_per_channel_] + s[0] / count_;
    variance[channel] = spread < 0.0 ? 0.0 : spread;
  }

private:
  const T *x_;
  double count_;
  std::int64_t units_per_channel_;
  const double *origin_;
};

// μ = high + low: x − high is exact near the mean, so that x − μ keeps all its digits.
template <class T> struct SplitMean {
  T high, low;
  explicit SplitMean(double mean)
      : high(static_cast<T>(mean)), low(static_cast<T>(mean - static_cast<double>(high))) {}
};

template <class T> double slope(const T *gamma, std::int64_t channel) {
  return gamma ? static_cast<double>(gamma[channel]) : 1.0;
}

// {high, low, scale, shift} of a channel
template <class T>
std::array<T, 4> constants(double mean, double inverse_deviation, const Affine<T> &affine,
                           std::int64_t c) {
  const SplitMean<T> mu(mean);
  return {mu.high, mu.low, static_cast<T>(inverse_deviation * slope(affine.gamma, c)),
          affine.beta ? affine.beta[c] : T(0)};
}

template <bool relu, bool residual, class T> struct Apply {
  const T *x, *other;
  template <class At, class C>
  auto operator()(At at, std::int64_t i, const std::array<C, 4> &c) const {
    auto value = ((at.load(x + i) - c[0]) - c[1]) * c[2] + c[3];
    if constexpr (residual)
      value += at.load(other + i);
    if constexpr (relu)
      value = positive_part(value);
    return value;
  }
};

// Calls use(Apply) with the form that `affine` asks for.
template <class T, class Use> void with_form(const Affine<T> &affine, const T *x, Use &&use) {
  if (affine.relu && affine.residual)
    use(Apply<true, true, T>{x, affine.residual});
  else if (affine.relu)
    use(Apply<true, false, T>{x, nullptr});
  else if (affine.residual)
    use(Apply<false, true, T>{x, affine.residual});
  else
    use(Apply<false, false, T>{x, nullptr});
}

} // namespace

template <class T> void channel_moments(Shape shape, const T *x, double *mean, double *variance) {
  const Layout layout(shape);
  const Deviations<T> deviations(layout, shape, x);
  if (layout.by_channel())
    return parallel_blocks(shape.channels, shape.size(), [&](std::int64_t c, int) {
      deviations.moments(c, deviations.of_channel(layout, c), mean, variance);
    });
  const Sums<2> *const sums = channel_sums<2>(layout, deviations.terms());
  for (std::int64_t c = 0; c < shape.channels; ++c)
    deviations.moments(c, sums[c], mean, variance);
}

template <class T>
void batch_norm_apply(Shape shape, const T *x, const double *mean, const double *inverse_deviation,
                      Affine<T> affine, T *y) {
  with_form(affine, x, [&](const auto &apply) {
    write_elements<4>(
        Layout(shape),
        [&](std::int64_t c) { return constants(mean[c], inverse_deviation[c], affine, c); },
        Target<T>(y, shape.size(), x, affine.residual), apply);
  });
}

template <class T>
void batch_norm_forward(Shape shape, double epsilon, const T *x, Affine<T> affine, double *mean,
                        double *variance, double *inverse_deviation, T *y) {
  const Layout layout(shape);
  const auto finish = [=](std::int64_t c) {
    inverse_deviation[c] = 1.0 / std::sqrt(variance[c] + epsilon);
  };
  if (!layout.by_channel()) {
    channel_moments(shape, x, mean, variance);
    for (std::int64_t c = 0; c < shape.channels; ++c)
      finish(c);
    return batch_norm_apply(shape, x, mean, inverse_deviation, affine, y);
  }
  const Deviations<T> deviations(layout, shape, x);
  const Target<T> target(y, shape.size(), x, affine.residual);
  with_form(affine, x, [&](const auto &apply) {
    parallel_blocks(shape.channels, shape.size(), [&](std::int64_t c, int) {
      deviations.moments(c, deviations.of_channel(layout, c), mean, variance);
      finish(c);
      write_channel(layout, c, constants(mean[c], inverse_deviation[c], affine, c), target, apply);
    });
  });
}

namespace {

template <class T> struct Backward {
  const Layout layout;
  const T *d_y, *x;
  const double *mean, *inverse_deviation;
  const T *gamma;
  bool of_batch;
  Gradients<T> gradients;

  // s: Σδ and Σδx̂. {high, low, scale, offset, slope, r}: dx = scale·δ − offset − slope·x̂. x̂ is
  // formed first because (x − μ)² may leave the range of T.
  std::array<T, 6> constants(std::int64_t c, const Sums<2> &s) const {
    const auto count =
        static_cast<double>(layout.size() / (layout.units / layout.units_per_channel));
    const double r = inverse_deviation[c], scale = r * slope(gamma, c),
                 share = of_batch ? scale / count : 0.0;
    const SplitMean<T> mu(mean[c]);
    if (gradients.d_gamma)
      gradients.d_gamma[c] = static_cast<T>(s[1]);
    if (gradients.d_beta)
      gradients.d_beta[c] = static_cast<T>(s[0]);
    return {mu.high,
            mu.low,
            static_cast<T>(scale),
            static_cast<T>(share * s[0]),
            static_cast<T>(share * s[1]),
            static_cast<T>(r)};
  }

  // Σδ and Σδx̂ of one channel
  template <class Delta> Sums<2> products(std::int64_t c, const Delta &delta) const {
    const double high = static_cast<double>(static_cast<T>(mean[c])), r = inverse_deviation[c],
                 rest = (mean[c] - high) * r;
    return channel_sum<T>(
        layout, c, {d_y, x},
        [=, in = x](std::int64_t offset) {
          return [=](auto at, std::int64_t i) {
            const auto d = delta(at, offset + i);
            const auto normalised =
                (at.load(in + offset + i) - at.constant(high)) * at.constant(r) - at.constant(rest);
            return std::array{d, d * normalised};
          };
        },
        are_finite);
  }

  // delta(at, i): ∂L/∂(output before the ReLU)
  template <class Delta> void run(Delta delta) const {
    const bool by_channel = layout.by_channel();
    const Target<T> target(gradients.d_x, layout.size(), d_y, x);
    const auto value = [in = x, d_residual = gradients.d_residual, delta](auto at, std::int64_t i,
                                                                          const auto &c) {
      const auto d = delta(at, i);
      if (d_residual)
        at.store(d_residual + i, d);
      return c[2] * d - c[3] - c[4] * (((at.load(in + i) - c[0]) - c[1]) * c[5]);
    };
    if (by_channel) {
      parallel_blocks(layout.units, 2 * layout.size(), [&](std::int64_t c, int) {
        write_channel(layout, c, constants(c, products(c, delta)), target, value);
      });
      return;
    }
    const double *const centre =
        by_unit<struct Centre>(layout, [this](std::int64_t c) { return mean[c]; });
    const auto terms = [in = x, mu = centre, delta](std::int64_t i, std::int64_t unit) {
      const auto d = static_cast<double>(delta(One{}, i));
      return Sums<2>{d, d * (static_cast<double>(in[i]) - mu[unit])};
    };
    const Sums<2> *const sums = channel_sums<2>(layout, terms);
    const std::int64_t channels = layout.units / layout.units_per_channel;
    auto *const of_channel = scratch<struct OfChannel, std::array<T, 6>>(channels);
    for (std::int64_t c = 0; c < channels; ++c)
      of_channel[c] = constants(c, {sums[c][0], sums[c][1] * inverse_deviation[c]});
    write_elements<6>(layout, [=](std::int64_t c) { return of_channel[c]; }, target, value);
  }
};

} // namespace

template <class T>
void batch_norm_backward(Shape shape, const T *d_y, const T *x, const T *y, const double *mean,
                         const double *inverse_deviation, const T *gamma, bool of_batch,
                         Gradients<T> gradients) {
  const Backward<T> backward{Layout(shape),     d_y,   x,        mean,
                             inverse_deviation, gamma, of_batch, gradients};
  if (y)
    backward.run(
        [=](auto at, std::int64_t i) { return where_positive(at.load(y + i), at.load(d_y + i)); });
  else
    backward.run([=](auto at, std::int64_t i) { return at.load(d_y + i); });
}

#define UNSTUCK_INSTANTIATE(T)                                                                     \
  template void channel_moments<T>(Shape, const T *, double *, double *);                          \
  template void batch_norm_apply<T>(Shape, const T *, const double *, const double *, Affine<T>,   \
                                    T *);                                                          \
  template void batch_norm_forward<T>(Shape, double, const T *, Affine<T>, double *, double *,     \
                                      double *, T *);                                              \
  template void batch_norm_backward<T>(Shape, const T *, const T *, const T *, const double *,     \
                                       const double *, const T *, bool, Gradients<T>);
UNSTUCK_INSTANTIATE(float)
UNSTUCK_INSTANTIATE(double)
#undef UNSTUCK_INSTANTIATE

} // namespace unstuck::norm
