// The weights' share of a correlation: tiles of (channel, tap) × output planes run over the
// positions of a band, whose δ stands transposed beside each other.
#include <algorithm>

#include <Eigen/Core>

#include "unstuck/nn/correlation.hpp"
#include "unstuck/nn/lanes.hpp"

namespace unstuck::nn {
namespace {

constexpr std::int64_t kCopied = 1 << 15; // numbers of the copies of one task's channels
constexpr std::int64_t kTasks = 16;       // of a parallel pass
template <class T> constexpr std::int64_t kWide = 2 * kLanes<T>; // output planes of a tile
constexpr int kRows = 6, kNarrowRows = 8; // (channel, tap) pairs of a tile of 2 and of 1 vectors

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes" // of a vector as template argument
#endif
// to[i·lanes + o] = from[o·plane + i] for i < length and one vector of o; 0 from o = outs on.
template <class T>
void transpose(const T *from, std::int64_t plane, std::int64_t outs, std::int64_t length, T *to,
               std::int64_t lanes) {
  using Packet = typename Eigen::internal::packet_traits<T>::type;
  constexpr int L = Eigen::internal::packet_traits<T>::size;
  std::int64_t i = 0;
  if constexpr (L == kLanes<T>)
    for (; outs >= L && i + L <= length; i += L) {
      Eigen::internal::PacketBlock<Packet, L> block;
      for (int o = 0; o < L; ++o)
        block.packet[o] = Eigen::internal::ploadu<Packet>(from + o * plane + i);
      Eigen::internal::ptranspose(block);
      for (int x = 0; x < L; ++x)
        Eigen::internal::pstoreu(to + (i + x) * lanes, block.packet[x]);
    }
  for (std::int64_t o = 0; o < kLanes<T>; ++o)
    for (std::int64_t x = i; x < length; ++x)
      to[x * lanes + o] = o < outs ? from[o * plane + x] : T(0);
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

// What a task adds up: channels [c, c + channels) × output planes [o, o + outs) of one group.
struct Part {
  std::int64_t group, c, channels, o, outs;
};

// Geometry of the positions that a tile runs over.
struct Steps {
  std::int64_t samples, rows, columns, sample_step, row_step;
};

// sums[i][·] += Σ_positions source[offset[i] + position]·delta[position][·]
template <class T, int R, int V>
[[gnu::noinline]] void tile(const Steps &n, const T *const *source, const T *delta, T *sums) {
  constexpr std::int64_t L = kLanes<T>;
  Lanes<T> sum[R][V];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < V; ++v)
      sum[i][v] = lanes(sums + (i * V + v) * L);
  const T *from[R];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
    from[i] = source[i];
  for (std::int64_t s = 0; s < n.samples; ++s)
    for (std::int64_t y = 0; y < n.rows; ++y) {
      const std::int64_t first = s * n.sample_step + y * n.row_step;
      for (std::int64_t at = first; at < first + n.columns; ++at, delta += V * L) {
        Lanes<T> d[V];
        for (int v = 0; v < V; ++v) {
          d[v] = lanes(delta + v * L);
          hold(d[v]);
        }
        for (int i = 0; i < R; ++i)
          for (int v = 0; v < V; ++v)
            sum[i][v] += from[i][at] * d[v];
      }
    }
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < V; ++v)
      lanes(sums + (i * V + v) * L) = sum[i][v];
}

template <class T, int R, int V>
void tile_of(std::int64_t rows, const Steps &n, const T *const *source, const T *delta, T *sums) {
  if (rows == R)
    return tile<T, R, V>(n, source, delta, sums);
  if constexpr (R > 1)
    tile_of<T, R - 1, V>(rows, n, source, delta, sums);
}

template <class T> struct Task {
  const Correlation &correlation;
  std::int64_t groups;
  Planes<const T> source, delta;
  T *gradient;

  static std::int64_t panels(std::int64_t outs) { return (outs + kWide<T> - 1) / kWide<T>; }
  // Vectors of panel p.
  static std::int64_t width(std::int64_t outs, std::int64_t p) {
    return outs - p * kWide<T> > kLanes<T> ? 2 : 1;
  }

  void run(std::int64_t rows, const Part &part) const {
    const std::int64_t taps = correlation.tap_count(), pairs = part.channels * taps,
                       largest =
                           std::min(correlation.largest_band(), rows * correlation.positions()),
                       samples = std::max<std::int64_t>(1, largest / correlation.positions());
    const std::int64_t wide = panels(part.outs) * kWide<T>;
    const std::int64_t sums_size = pairs * wide, delta_size = largest * wide;
    T *const sums = thread_scratch<T, 0>(sums_size + delta_size + 2 * kWide<T> +
                                         samples * part.channels * correlation.plane_length());
    T *const turned = sums + sums_size, *const copy = turned + delta_size;
    std::fill_n(sums, sums_size, T(0));
    const std::int64_t source_sample = groups * source.planes * source.plane,
                       delta_sample = groups * delta.planes * delta.plane;
    for (std::int64_t i = 0; i < correlation.band_count(rows); ++i) {
      const Correlation::Band band = correlation.band(rows, i);
      correlation.copy(band, part.channels,
                       source.data + band.sample * source_sample +
                           (part.group * source.planes + part.c) * source.plane,
                       source_sample, copy);
      turn(band, part.outs,
           delta.data + band.sample * delta_sample +
               (part.group * delta.planes + part.o) * delta.plane,
           turned);
      add(band, part, copy, turned, sums);
    }
    finish(part, sums);
  }

private:
  // turned[panel][position][output plane]
  void turn(const Correlation::Band &band, std::int64_t outs, const T *d, T *turned) const {
    const std::int64_t sample = groups * delta.planes * delta.plane;
    const bool whole = band.columns == correlation.width(); // rows of outputs are one run
    const std::int64_t runs = whole ? 1 : band.rows, length = band.size() / band.samples / runs;
    for (std::int64_t p = 0; p < panels(outs); ++p) {
      const std::int64_t lanes = width(outs, p) * kLanes<T>, first = p * kWide<T>;
      T *to = turned + first * band.size();
      for (std::int64_t s = 0; s < band.samples; ++s)
        for (std::int64_t y = 0; y < runs; ++y, to += length * lanes) {
          const T *row = d + s * sample + correlation.out_at(band.y + y, band.x);
          for (std::int64_t o = 0; o < lanes; o += kLanes<T>)
            transpose(row + (first + o) * delta.plane, delta.plane, outs - first - o, length,
                      to + o, lanes);
        }
    }
  }

  void add(const Correlation::Band &band, const Part &part, const T *copy, const T *turned,
           T *sums) const {
    const std::int64_t taps = correlation.tap_count(), pairs = part.channels * taps;
    const Steps steps{band.samples, band.rows, band.columns,
                      part.channels * correlation.plane_length(), correlation.row_step()};
    for (std::int64_t p = 0; p < panels(part.outs); ++p) {
      const std::int64_t vectors = width(part.outs, p), lanes = vectors * kLanes<T>;
      const T *d = turned + p * kWide<T> * band.size();
      T *to = sums + p * kWide<T> * pairs;
      const std::int64_t most = vectors == 2 ? kRows : kNarrowRows;
      const T *from[kNarrowRows];
      std::int64_t c = 0, t = 0;
      for (std::int64_t k = 0; k < pairs; k += most) {
        const std::int64_t rows = std::min(most, pairs - k);
        for (std::int64_t i = 0; i < rows; ++i) {
          from[i] = copy + c * correlation.plane_length() +
                    correlation.offsets()[static_cast<std::size_t>(t)];
          if (++t == taps) {
            t = 0;
            ++c;
          }
        }
        if (vectors == 2)
          tile_of<T, kRows, 2>(rows, steps, from, d, to + k * lanes);
        else
          tile_of<T, kNarrowRows, 1>(rows, steps, from, d, to + k * lanes);
      }
    }
  }

  void finish(const Part &part, const T *sums) const {
    const std::int64_t taps = correlation.tap_count(), pairs = part.channels * taps,
                       row = source.planes * taps;
    T *const first = gradient + (part.group * delta.planes + part.o) * row + part.c * taps;
    for (std::int64_t o = 0; o < part.outs; ++o) {
      const std::int64_t p = o / kWide<T>, lanes = width(part.outs, p) * kLanes<T>;
      const T *from = sums + p * kWide<T> * pairs + o % kWide<T>;
      for (std::int64_t k = 0; k < pairs; ++k)
        first[o * row + k] += from[k * lanes];
    }
  }
};

} // namespace

template <class T>
void correlate_weights(Team team, const Correlation &correlation, std::int64_t rows,
                       std::int64_t groups, Planes<const T> source, Planes<const T> delta,
                       T *gradient) {
  if (few_planes(groups, source.planes, delta.planes))
    return correlate_weights_few(team, correlation, rows, groups, source, delta, gradient);
  const Task<T> task{correlation, groups, source, delta, gradient};
  const std::int64_t outs = team.parallel ? kWide<T> : delta.planes,
                     out_parts = (delta.planes + outs - 1) / outs;
  const std::int64_t samples = std::max<std::int64_t>(
      1, std::min(rows, correlation.largest_band() / correlation.positions()));
  std::int64_t parts =
      (source.planes * samples * correlation.plane_length() + kCopied - 1) / kCopied;
  if (team.parallel)
    parts = std::max(parts, kTasks / (groups * out_parts));
  const std::int64_t channels =
      (source.planes + std::clamp<std::int64_t>(parts, 1, source.planes) - 1) /
      std::clamp<std::int64_t>(parts, 1, source.planes);
  const std::int64_t channel_parts = (source.planes + channels - 1) / channels;
  const std::int64_t work = rows * groups * correlation.positions() * delta.planes * source.planes *
                            correlation.tap_count() / 16;
  team.blocks(groups * out_parts * channel_parts, work, [&](std::int64_t id) {
    const std::int64_t c = id % channel_parts * channels, rest = id / channel_parts,
                       o = rest % out_parts * outs;
    task.run(rows, {rest / out_parts, c, std::min(channels, source.planes - c), o,
                    std::min(outs, delta.planes - o)});
  });
}

template void correlate_weights<float>(Team, const Correlation &, std::int64_t, std::int64_t,
                                       Planes<const float>, Planes<const float>, float *);
template void correlate_weights<double>(Team, const Correlation &, std::int64_t, std::int64_t,
                                        Planes<const double>, Planes<const double>, double *);

} // namespace unstuck::nn
