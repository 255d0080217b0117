// Batch statistics and their running averages.
#include "unstuck/nn/batch_statistics.hpp"

#include <algorithm>
#include <cmath>

#include "unstuck/norm/batch_norm.hpp"

namespace unstuck::nn {
namespace {

using norm::scratch;

constexpr double kMostBatches = 1 << 24; // a float counts exactly that far

bool has_running_spread(const BatchNormOptions &options) { return options.spread != Spread::none; }

std::int64_t batches_at(const BatchNormOptions &options) {
  return (has_running_spread(options) ? 2 : 1) * options.channels;
}

// mean |a − μ| and the mean sign
template <class T>
void measure_absolute(const BatchNormOptions &options, norm::Shape shape, const T *a,
                      ChannelStatistics *statistics) {
  const norm::Layout layout(shape);
  const auto count = static_cast<double>(shape.per_channel());
  const auto *const sums = norm::channel_sums<2>(layout, [=](std::int64_t i, std::int64_t unit) {
    const double x = static_cast<double>(a[i]) - statistics[layout.channel(unit)].mean;
    return norm::Sums<2>{std::abs(x), static_cast<double>(x > 0.0) - static_cast<double>(x < 0.0)};
  });
  for (std::int64_t c = 0; c < shape.channels; ++c) {
    ChannelStatistics &s = statistics[c];
    s.spread = sums[c][0] / count;
    s.r = 1.0 / (s.spread + options.epsilon);
    s.slope_mean = sums[c][1] / count;
  }
}

// max |a − μ|, and where it is attained: at the largest value, the smallest, or both
template <class T>
void measure_largest(const BatchNormOptions &options, norm::Shape shape, const T *a,
                     ChannelStatistics &s, std::int64_t channel) {
  const auto each = [&](auto &&see) {
    for (std::int64_t row = 0; row < shape.samples; ++row)
      for (std::int64_t j = 0; j < shape.spatial; ++j)
        see(a[(row * shape.channels + channel) * shape.spatial + j]);
  };
  T top = a[channel * shape.spatial], bottom = top;
  bool comparable = true; // no NaN
  each([&](T x) {
    top = std::max(top, x);
    bottom = std::min(bottom, x);
    comparable = comparable && x == x;
  });
  const double above = static_cast<double>(top) - s.mean,
               below = s.mean - static_cast<double>(bottom);
  s.spread = comparable ? std::max(above, below) : std::numeric_limits<double>::quiet_NaN();
  s.r = 1.0 / (s.spread + options.epsilon);
  if (top == bottom)
    return; // a − μ = 0 everywhere, and so is its sign
  if (above >= below)
    s.top = static_cast<double>(top);
  if (below >= above)
    s.bottom = static_cast<double>(bottom);
  double at_top = 0.0, at_bottom = 0.0;
  each([&](T x) {
    at_top += static_cast<double>(x) == s.top ? 1.0 : 0.0;
    at_bottom += static_cast<double>(x) == s.bottom ? 1.0 : 0.0;
  });
  const auto count = static_cast<double>(shape.per_channel());
  s.weight = count / (at_top + at_bottom);
  s.slope_mean = s.weight * (at_top - at_bottom) / count;
}

// r and d, constants of the pass; `mean` and `deviation` are the running ones.
void renormalise(const Renormalisation &limits, double steps, double mean, double deviation,
                 ChannelStatistics &s) {
  const double most = limits.largest_r(steps), far = limits.largest_d(steps);
  s.scale = std::clamp(s.spread / deviation, 1.0 / most, most);
  s.shift = std::clamp((s.mean - mean) / deviation, -far, far);
}

} // namespace

std::vector<LayerBuffer> running_buffers(const BatchNormOptions &options) {
  if (!options.track)
    return {};
  std::vector<LayerBuffer> list{{{"running_mean", {options.channels}}, 0.0}};
  const char *name = options.kinked()       ? "running_scale"
                     : options.of_deviation ? "running_std"
                                            : "running_var";
  if (has_running_spread(options))
    list.push_back({{name, {options.channels}}, 1.0});
  list.push_back({{"batches", {1}}, 0.0});
  return list;
}

template <class T> double steps_seen(const BatchNormOptions &options, const T *buffers) {
  return options.track ? static_cast<double>(buffers[batches_at(options)]) : 0.0;
}

ChannelStatistics of_moments(const BatchNormOptions &options, double mean, double variance) {
  ChannelStatistics s;
  s.mean = mean;
  if (options.spread == Spread::none)
    return s;
  s.r = 1.0 / std::sqrt(variance + options.epsilon);
  s.spread = options.renormalises   ? std::sqrt(variance + options.epsilon)
             : options.of_deviation ? std::sqrt(variance)
                                    : variance;
  return s;
}

template <class T>
void measure_batch(const BatchNormOptions &options, norm::Shape shape, const T *a, const T *buffers,
                   ChannelStatistics *statistics) {
  double *const mean = scratch<struct Mean, double>(shape.channels),
                *const variance = scratch<struct Variance, double>(shape.channels);
  norm::channel_moments(shape, a, mean, variance);
  for (std::int64_t c = 0; c < shape.channels; ++c)
    statistics[c] = of_moments(options, mean[c], variance[c]);
  if (options.spread == Spread::absolute)
    measure_absolute(options, shape, a, statistics);
  if (options.spread == Spread::largest)
    parallel_blocks(shape.channels, shape.size(), [&](std::int64_t c, int) {
      measure_largest(options, shape, a, statistics[c], c);
    });
  for (std::int64_t c = 0; options.renormalises && c < shape.channels; ++c)
    renormalise(options.renormalisation, steps_seen(options, buffers),
                static_cast<double>(buffers[c]), static_cast<double>(buffers[shape.channels + c]),
                statistics[c]);
}

template <class T>
ChannelStatistics running_statistics(const BatchNormOptions &options, const T *buffers,
                                     std::int64_t channel) {
  ChannelStatistics s;
  s.mean = static_cast<double>(buffers[channel]);
  if (!has_running_spread(options))
    return s;
  s.spread = static_cast<double>(buffers[options.channels + channel]);
  if (options.renormalises)
    s.r = 1.0 / s.spread;
  else if (options.kinked())
    s.r = 1.0 / (s.spread + options.epsilon);
  else
    s.r =
        1.0 / std::sqrt((options.of_deviation ? s.spread * s.spread : s.spread) + options.epsilon);
  return s;
}

template <class T>
void average_batch(const BatchNormOptions &options, std::int64_t count,
                   const ChannelStatistics *statistics, T *buffers) {
  T &batches = buffers[batches_at(options)];
  if (static_cast<double>(batches) < kMostBatches)
    batches += T(1);
  const double share =
      options.momentum < 0.0 ? 1.0 / static_cast<double>(batches) : options.momentum;
  const auto move = [share](T &average, double value) {
    average = static_cast<T>((1.0 - share) * static_cast<double>(average) + share * value);
  };
  const bool variance = options.spread == Spread::deviation && !options.of_deviation;
  const auto n = static_cast<double>(count);
  for (std::int64_t c = 0; c < options.channels; ++c) {
    move(buffers[c], statistics[c].mean);
    if (has_running_spread(options))
      move(buffers[options.channels + c], statistics[c].spread * (variance ? n / (n - 1.0) : 1.0));
  }
}

#define UNSTUCK_INSTANTIATE(T)                                                                     \
  template double steps_seen<T>(const BatchNormOptions &, const T *);                              \
  template void measure_batch<T>(const BatchNormOptions &, norm::Shape, const T *, const T *,      \
                                 ChannelStatistics *);                                             \
  template ChannelStatistics running_statistics<T>(const BatchNormOptions &, const T *,            \
                                                   std::int64_t);                                  \
  template void average_batch<T>(const BatchNormOptions &, std::int64_t,                           \
                                 const ChannelStatistics *, T *);
UNSTUCK_INSTANTIATE(float)
UNSTUCK_INSTANTIATE(double)
#undef UNSTUCK_INSTANTIATE

} // namespace unstuck::nn
