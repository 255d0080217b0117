// What normalisation over the batch measures of a batch, and what it averages over training.
//
// A channel's values a become x̂ = (a − μ)r, of which the layer makes γ(x̂·scale + shift) + β. With
// n values per channel, ∂(1/r)/∂a = G̃/n, where G̃ = G − mean(G) and
//   deviation  1/r = √(mean (a − μ)² + ε)  G = x̂
//   absolute   1/r = mean |a − μ| + ε       G = sign(x̂)
//   largest    1/r = max |a − μ| + ε        G = n·sign(x̂)/k at the k values that attain it, else 0
//   none       r = 1                        G = 0
// Kinks as in PyTorch: sign(0) = 0, ties share the derivative. Sources: 1502.03167; 1805.11604
// (absolute, largest), 1602.07868 (none), 1702.03275 (scale and shift).
#pragma once
#include <cstdint>
#include <limits>

#include "unstuck/nn/layer.hpp"
#include "unstuck/norm/channels.hpp"

namespace unstuck::nn {

enum class Spread { deviation, absolute, largest, none };

// The clipping of batch renormalisation after t training steps: (1, 0) until `warm_up`, then linear
// up to r_max at step r_end and d_max at step d_end.
struct Renormalisation {
  double r_max = 1.0, d_max = 0.0, warm_up = 0.0, r_end = 0.0, d_end = 0.0;

  double largest_r(double t) const { return 1.0 + (r_max - 1.0) * progress(t, r_end); }
  double largest_d(double t) const { return d_max * progress(t, d_end); }

private:
  double progress(double t, double end) const {
    return t >= end ? 1.0 : t <= warm_up ? 0.0 : (t - warm_up) / (end - warm_up);
  }
};

struct BatchNormOptions {
  std::int64_t channels = 0;
  double epsilon = 0.0, momentum = 0.0; // weight of the new batch; < 0: the average of all batches
  Spread spread = Spread::deviation;
  bool affine = true;
  bool track = true;         // running statistics are kept, and used in evaluation
  bool frozen = false;       // and in training, which leaves them alone
  bool of_deviation = false; // they average σ, else the unbiased σ²
  double affine_from = 0.0;  // training steps before which γ and β are constants
  bool renormalises = false;
  Renormalisation renormalisation = {};

  bool has_gain() const { return affine && spread != Spread::none; }
  bool of_batch(bool training) const { return training ? !frozen : !track; }
  bool kinked() const { return spread == Spread::absolute || spread == Spread::largest; }
};

// Of one channel.
struct ChannelStatistics {
  double mean = 0.0, r = 1.0;
  double spread = 0.0; // what the running statistics average: σ² (biased), σ, or 1/r − ε
  double scale = 1.0, shift = 0.0;
  double slope_mean = 0.0; // mean(G)
  // G of `largest`: weight where a is `top`, −weight where it is `bottom`
  double top = std::numeric_limits<double>::infinity(), bottom = -top, weight = 0.0;
};

// The buffers: running mean [channels], running spread [channels] unless there is none, batches.
std::vector<LayerBuffer> running_buffers(const BatchNormOptions &options);

// How many training steps the buffers have seen.
template <class T> double steps_seen(const BatchNormOptions &options, const T *buffers);

// Of a batch whose moments are known: those of `deviation` and `none` follow from them.
ChannelStatistics of_moments(const BatchNormOptions &options, double mean, double variance);

// Of the batch a, with the buffers' part in renormalisation: statistics[c] for every channel.
template <class T>
void measure_batch(const BatchNormOptions &options, norm::Shape shape, const T *a, const T *buffers,
                   ChannelStatistics *statistics);

// Of the buffers.
template <class T>
ChannelStatistics running_statistics(const BatchNormOptions &options, const T *buffers,
                                     std::int64_t channel);

// Moves the buffers by a batch with `count` values per channel.
template <class T>
void average_batch(const BatchNormOptions &options, std::int64_t count,
                   const ChannelStatistics *statistics, T *buffers);

} // namespace unstuck::nn
