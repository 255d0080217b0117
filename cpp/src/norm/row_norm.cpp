// Normalisation row by row: a row stays in the cache between its statistics and their use.
#include "unstuck/norm/row_norm.hpp"

#include <array>
#include <cmath>
#include <vector>

#include "unstuck/norm/origin.hpp"

namespace unstuck::norm {
namespace {

struct Moments {
  double mean, square; // of a row; square about the mean, or about 0 if not centred
};

// Rows follow one another in memory.
template <class T> auto fetch_further(const std::array<const T *, 2> &reads) {
  return [=](std::int64_t i) { fetch(reads, i + ahead<T>(kFarAhead), kSumLanes); };
}

template <class T> Moments row_moments(std::int64_t length, bool centered, const T *x) {
  const double k = centered ? run_origin(length, x) : 0.0, n = static_cast<double>(length);
  const auto [sum, square] = pair_of_sums<T>(
      [=](const auto &add) { add(length, moment_terms(x, k), fetch_further<T>({x, nullptr})); },
      [=](const auto &s) { return moments_suffice(n, centered, s); });
  if (!centered)
    return {0.0, square / n};
  const double spread = (square - sum * (sum / n)) / n;
  return {k + sum / n, spread < 0.0 ? 0.0 : spread};
}

// γ or β of the elements of a row: one value per channel while its run of positions fills the
// vector registers, else repeated over the positions.
template <class T> class PerChannel {
public:
  PerChannel(const Rows &rows, const T *values)
      : channels_(rows.channels()), width_(by_runs(rows) ? 1 : rows.shape.spatial),
        values_(values) {
    if (!values || width_ == 1)
      return;
    for (std::int64_t c = 0; c < rows.shape.channels; ++c)
      repeated_.insert(repeated_.end(), static_cast<std::size_t>(width_), values[c]);
    values_ = repeated_.data();
  }
  static bool by_runs(const Rows &rows) { return rows.shape.spatial >= kShortRun; }

  // Of the first channel of a row of group `group`; null if there are none.
  const T *of_group(std::int64_t group) const {
    return values_ ? values_ + group * channels_ * width_ : nullptr;
  }

private:
  std::int64_t channels_, width_;
  const T *values_;
  std::vector<T> repeated_;
};

// target[at + i] = x̂_i·γ + β for a row.
template <class T, class Normalised>
void write_row(const Rows &rows, const Target<T> &target, std::int64_t at, const T *gamma,
               const T *beta, Normalised &&normalised) {
  const std::int64_t length = rows.length(), spatial = rows.shape.spatial;
  if (PerChannel<T>::by_runs(rows))
    for (std::int64_t c = 0, begin = 0; begin < length; ++c, begin += spatial) {
      const T g = gamma ? gamma[c] : T(1), b = beta ? beta[c] : T(0);
      write_run(target, at + begin, spatial, at + begin + spatial,
                [=](auto how, std::int64_t i) { return normalised(how, begin + i) * g + b; });
    }
  else if (gamma && beta)
    write_run(target, at, length, at + length, [=](auto how, std::int64_t i) {
      return normalised(how, i) * how.load(gamma + i) + how.load(beta + i);
    });
  else
    write_run(target, at, length, at + length, [=](auto how, std::int64_t i) {
      auto value = normalised(how, i);
      if (gamma)
        value = value * how.load(gamma + i);
      if (beta)
        value = value + how.load(beta + i);
      return value;
    });
}

std::int64_t rows_per_block(const Rows &rows) {
  return std::max<std::int64_t>(1, kPiece / std::max<std::int64_t>(1, rows.length()));
}

} // namespace

template <class T>
void row_norm_forward(Rows rows, double epsilon, const T *x, const T *gamma, const T *beta, T *y,
                      double *mean, double *inverse_deviation) {
  const std::int64_t length = rows.length();
  const PerChannel<T> g(rows, gamma), b(rows, beta);
  const Target<T> target(y, rows.shape.size(), x);
  parallel_ranges(rows.count(), rows_per_block(rows), rows.shape.size(),
                  [&](std::int64_t begin, std::int64_t end) {
                    for (std::int64_t r = begin; r < end; ++r) {
                      const T *in = x + r * length;
                      const auto [centre, square] = row_moments(length, rows.centered, in);
                      mean[r] = centre;
                      inverse_deviation[r] = 1.0 / std::sqrt(square + epsilon);
                      const T high = static_cast<T>(centre),
                              low = static_cast<T>(centre - static_cast<double>(high)),
                              scale = static_cast<T>(inverse_deviation[r]);
                      write_row(rows, target, r * length, g.of_group(r % rows.groups),
                                b.of_group(r % rows.groups), [=](auto how, std::int64_t i) {
                                  return ((how.load(in + i) - high) - low) * scale;
                                });
                    }
                    stream_fence();
                  });
}

namespace {

// Σδx̂ and Σδ per channel, in double; null: not wanted.
struct AffineSums {
  double *slope = nullptr, *offset = nullptr;

  // A row of `spatial` elements per channel.
  template <class T>
  void add(std::int64_t channels, std::int64_t spatial, const T *d_y, const T *x, double mean,
           double r) const {
    if (spatial == 1)
      return add_contiguous(channels, d_y, x, mean, r);
    for (std::int64_t k = 0; k < spatial; ++k)
      for (std::int64_t c = 0; c < channels; ++c) {
        const auto d = static_cast<double>(d_y[c * spatial + k]);
        slope[c] += d * ((static_cast<double>(x[c * spatial + k]) - mean) * r);
        offset[c] += d;
      }
  }

private:
  template <class T>
  void add_contiguous(std::int64_t channels, const T *d_y, const T *x, double mean,
                      double r) const {
#pragma GCC ivdep
    for (std::int64_t c = 0; c < channels; ++c) {
      const auto d = static_cast<double>(d_y[c]);
      slope[c] += d * ((static_cast<double>(x[c]) - mean) * r);
      offset[c] += d;
    }
  }
};

// Adds Σδx̂ and Σδ per channel, if wanted, and gives Σγδ and Σγδx̂ of the row.
template <class T>
std::array<double, 2> row_products(const Rows &rows, const T *d_y, const T *x, double mean,
                                   double r, const T *gamma, AffineSums affine) {
  const std::int64_t spatial = rows.shape.spatial, channels = rows.channels();
  const double high = static_cast<double>(static_cast<T>(mean)), rest = (mean - high) * r;
  const auto of = [=](const T *d, const T *a, const auto &weighted, std::int64_t length) {
    return pair_of_sums<T>(
        [=](const auto &add) {
          const auto value = [=](auto at, std::int64_t i) {
            const auto v = weighted(at, d, i);
            const auto normalised =
                (at.load(a + i) - at.constant(high)) * at.constant(r) - at.constant(rest);
            return std::array{v, v * normalised};
          };
          add(length, value, fetch_further<T>({d, a}));
        },
        are_finite);
  };
  const auto plain = [](auto at, const T *d, std::int64_t i) { return at.load(d + i); };
  if (!PerChannel<T>::by_runs(rows)) {
    if (affine.slope)
      affine.add(channels, spatial, d_y, x, mean, r);
    if (!gamma)
      return of(d_y, x, plain, rows.length());
    const auto times_gamma = [=](auto at, const T *d, std::int64_t i) {
      return at.load(d + i) * at.load(gamma + i);
    };
    return of(d_y, x, times_gamma, rows.length());
  }
  std::array<double, 2> total{};
  for (std::int64_t c = 0; c < channels; ++c) {
    const auto part = of(d_y + c * spatial, x + c * spatial, plain, spatial);
    if (affine.slope) {
      affine.slope[c] += part[1];
      affine.offset[c] += part[0];
    }
    for (std::size_t s = 0; s < 2; ++s)
      total[s] += part[s] * (gamma ? static_cast<double>(gamma[c]) : 1.0);
  }
  return total;
}

// dx of one row.
template <class T>
void row_gradient(const Rows &rows, const Target<T> &target, std::int64_t at, const T *d_y,
                  const T *x, double mean, double r, const T *gamma,
                  const std::array<double, 2> &products) {
  const auto n = static_cast<double>(rows.length());
  const T high = static_cast<T>(mean), low = static_cast<T>(mean - static_cast<double>(high)),
          scale = static_cast<T>(r),
          offset = static_cast<T>(rows.centered ? r * products[0] / n : 0.0),
          slope = static_cast<T>(r * products[1] / n);
  const auto write = [=](std::int64_t first, std::int64_t count, auto &&delta) {
    write_run(target, at + first, count, at + first + count, [=](auto how, std::int64_t i) {
      return scale * delta(how, i) - offset -
             slope * (((how.load(x + first + i) - high) - low) * scale);
    });
  };
  const std::int64_t spatial = rows.shape.spatial;
  if (PerChannel<T>::by_runs(rows))
    for (std::int64_t c = 0; c < rows.channels(); ++c)
      write(c * spatial, spatial,
            [d = d_y + c * spatial, g = gamma ? gamma[c] : T(1)](auto how, std::int64_t i) {
              return how.load(d + i) * g;
            });
  else if (gamma)
    write(0, rows.length(),
          [=](auto how, std::int64_t i) { return how.load(d_y + i) * how.load(gamma + i); });
  else
    write(0, rows.length(), [=](auto how, std::int64_t i) { return how.load(d_y + i); });
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
  std::vector<double> partial(static_cast<std::size_t>(affine ? 2 * blocks * channels : 0));
  const auto of_block = [&](std::int64_t block) {
    double *const at = partial.data() + 2 * block * channels;
    return affine ? AffineSums{at, at + channels} : AffineSums{};
  };
  const PerChannel<T> g(rows, gamma);
  const Target<T> target(gradients.d_x, rows.shape.size(), d_y, x);
  parallel_ranges(
      rows.count(), grain, rows.shape.size(), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t r = begin; r < end; ++r) {
          const std::int64_t at = r * length, group = r % rows.groups;
          const T *const of_group = g.of_group(group);
          AffineSums sums = of_block(begin / grain);
          if (affine) {
            sums.slope += group * rows.channels();
            sums.offset += group * rows.channels();
          }
          const auto products =
              row_products(rows, d_y + at, x + at, mean[r], inverse_deviation[r], of_group, sums);
          row_gradient(rows, target, at, d_y + at, x + at, mean[r], inverse_deviation[r], of_group,
                       products);
        }
        stream_fence();
      });
  for (std::int64_t c = 0; affine && c < channels; ++c) {
    std::array<double, 2> sum{};
    for (std::int64_t block = 0; block < blocks; ++block) {
      sum[0] += of_block(block).slope[c];
      sum[1] += of_block(block).offset[c];
    }
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
