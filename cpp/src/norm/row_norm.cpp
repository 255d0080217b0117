// Normalisation row by row: a row stays in the cache between its statistics and their use.
#include "unstuck/norm/row_norm.hpp"

#include <array>
#include <cmath>
#include <vector>

#include "unstuck/norm/origin.hpp"
#include "unstuck/norm/row_sums.hpp"

namespace unstuck::norm {
namespace {

struct Moments {
  double mean, square; // of a row; square about the mean, or about 0 if not centred
};

template <class T> Moments row_moments(std::int64_t length, bool centered, const T *x) {
  const double k = centered ? run_origin(length, x) : 0.0, n = static_cast<double>(length);
  const auto [sum, square] = row_sums<2>(length, [=](std::int64_t i) {
    const double d = static_cast<double>(x[i]) - k;
    return std::array<double, 2>{d, d * d};
  });
  if (!centered)
    return {0.0, square / n};
  const double spread = (square - sum * (sum / n)) / n;
  return {k + sum / n, spread < 0.0 ? 0.0 : spread};
}

// A value per element of a row: γ or β repeated over the positions of its channel; empty if null.
template <class T> std::vector<T> by_position(const Rows &rows, const T *channel_values) {
  std::vector<T> values;
  if (channel_values)
    for (std::int64_t c = 0; c < rows.shape.channels; ++c)
      values.insert(values.end(), static_cast<std::size_t>(rows.shape.spatial), channel_values[c]);
  return values;
}

std::int64_t rows_per_block(const Rows &rows) {
  return std::max<std::int64_t>(1, kPiece / std::max<std::int64_t>(1, rows.length()));
}

} // namespace

template <class T>
void row_norm_forward(Rows rows, double epsilon, const T *x, const T *gamma, const T *beta, T *y,
                      double *mean, double *inverse_deviation) {
  const std::int64_t length = rows.length();
  const std::vector<T> g = by_position(rows, gamma), b = by_position(rows, beta);
  const Target<T> target(y, rows.shape.size());
  parallel_ranges(
      rows.count(), rows_per_block(rows), rows.shape.size(),
      [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t r = begin; r < end; ++r) {
          const T *in = x + r * length;
          const auto [centre, square] = row_moments(length, rows.centered, in);
          mean[r] = centre;
          inverse_deviation[r] = 1.0 / std::sqrt(square + epsilon);
          const T high = static_cast<T>(centre),
                  low = static_cast<T>(centre - static_cast<double>(high)),
                  scale = static_cast<T>(inverse_deviation[r]);
          const std::int64_t first = r % rows.groups * length;
          const T *gr = gamma ? g.data() + first : nullptr, *br = beta ? b.data() + first : nullptr;
          const auto centred = [=](std::int64_t i) { return ((in[i] - high) - low) * scale; };
          if (gr && br)
            write_run(target, r * length, length,
                      [=](std::int64_t i) { return centred(i) * gr[i] + br[i]; });
          else
            write_run(target, r * length, length, [=](std::int64_t i) {
              return centred(i) * (gr ? gr[i] : T(1)) + (br ? br[i] : T(0));
            });
        }
        stream_fence();
      });
}

namespace {

// dx of one row.
template <class T>
void row_gradient(const Rows &rows, const T *d_y, const T *x, double mean, double r, const T *gamma,
                  T *d_x) {
  const std::int64_t length = rows.length();
  const auto n = static_cast<double>(length);
  const auto delta = [=](std::int64_t i) { return gamma ? d_y[i] * gamma[i] : d_y[i]; };
  const auto [sum, product] = row_sums<2>(length, [=](std::int64_t i) {
    const auto d = static_cast<double>(delta(i));
    return std::array<double, 2>{d, d * (static_cast<double>(x[i]) - mean)};
  });
  const T high = static_cast<T>(mean), low = static_cast<T>(mean - static_cast<double>(high)),
          scale = static_cast<T>(r), offset = static_cast<T>(rows.centered ? r * sum / n : 0.0),
          slope = static_cast<T>(r * (r * product / n));
#pragma GCC ivdep
  for (std::int64_t i = 0; i < length; ++i)
    d_x[i] = scale * delta(i) - offset - slope * (((x[i] - high) - low) * scale);
}

// Σδx̂ and Σδ per channel over the rows of a block, in double.
template <class T>
void add_affine(const Rows &rows, std::int64_t row, const T *d_y, const T *x, double mean, double r,
                std::array<double, 2> *sums) {
  const std::int64_t spatial = rows.shape.spatial, channels = rows.channels(),
                     first = row % rows.groups * channels;
  if (spatial == 1) {
    for (std::int64_t c = 0; c < channels; ++c) {
      const auto d = static_cast<double>(d_y[c]);
      sums[first + c][0] += d * ((static_cast<double>(x[c]) - mean) * r);
      sums[first + c][1] += d;
    }
    return;
  }
  for (std::int64_t c = 0; c < channels; ++c) {
    const T *d = d_y + c * spatial, *a = x + c * spatial;
    const auto part = row_sums<2>(spatial, [=](std::int64_t i) {
      const auto v = static_cast<double>(d[i]);
      return std::array<double, 2>{v * (static_cast<double>(a[i]) - mean), v};
    });
    sums[first + c][0] += part[0] * r;
    sums[first + c][1] += part[1];
  }
}

} // namespace

template <class T>
void row_norm_backward(Rows rows, const T *d_y, const T *x, const double *mean,
                       const double *inverse_deviation, const T *gamma, Gradients<T> gradients) {
  constexpr std::int64_t most_blocks = 64; // each holds a pair of sums per channel
  const std::int64_t length = rows.length(), channels = rows.shape.channels;
  const std::int64_t grain =
      std::max(rows_per_block(rows), (rows.count() + most_blocks - 1) / most_blocks);
  const std::int64_t blocks = (rows.count() + grain - 1) / grain;
  const bool affine = gradients.d_gamma || gradients.d_beta;
  std::vector<std::array<double, 2>> partial(
      static_cast<std::size_t>(affine ? blocks * channels : 0));
  const std::vector<T> g = by_position(rows, gamma);
  parallel_ranges(
      rows.count(), grain, rows.shape.size(), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t r = begin; r < end; ++r) {
          const std::int64_t at = r * length;
          if (affine)
            add_affine(rows, r, d_y + at, x + at, mean[r], inverse_deviation[r],
                       partial.data() + begin / grain * channels);
          row_gradient(rows, d_y + at, x + at, mean[r], inverse_deviation[r],
                       gamma ? g.data() + r % rows.groups * length : nullptr, gradients.d_x + at);
        }
      });
  for (std::int64_t c = 0; affine && c < channels; ++c) {
    std::array<double, 2> sum{};
    for (std::int64_t block = 0; block < blocks; ++block)
      for (std::size_t s = 0; s < 2; ++s)
        sum[s] += partial[static_cast<std::size_t>(block * channels + c)][s];
    if (gradients.d_gamma)
      gradients.d_gamma[c] = static_cast<T>(sum[0]);
    if (gradients.d_beta)
      gradients.d_beta[c] = static_cast<T>(sum[1]);
  }
}

#define UNSTUCK_INSTANTIATE(T)                                                                     \
  template void row_norm_forward<T>(Rows, double, const T *, const T *, const T *, T *, double *,  \
                                    double *);                                                     \
  template void row_norm_backward<T>(Rows, const T *, const T *, const double *, const double *,   \
                                     const T *, Gradients<T>);
UNSTUCK_INSTANTIATE(float)
UNSTUCK_INSTANTIATE(double)
#undef UNSTUCK_INSTANTIATE

} // namespace unstuck::norm
