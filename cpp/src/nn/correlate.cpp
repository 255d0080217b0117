// Correlation as a matrix product without the matrix of windows: columns of 2 vectors of positions
// are gathered from the copy with zeros while they stay in the first-level cache, and multiplied by
// rows of weights.
#include <algorithm>
#include <array>

#include "unstuck/nn/correlation.hpp"
#include "unstuck/nn/lanes.hpp"

namespace unstuck::nn {
namespace {

template <class T> constexpr std::int64_t kColumns = 2 * kLanes<T>; // positions of a tile
constexpr std::int64_t kRows = 6;    // output planes of a tile: 12 sums, 2 columns and a weight
constexpr std::int64_t kDepth = 320; // taps of a tile: 20 KiB of columns

// The weights that one tile runs over: channels [c, c + channels) and taps [t, t + taps).
struct Depth {
  std::int64_t c, channels, t, taps;
};

struct Depths {
  std::int64_t channels, taps, channel_pieces, tap_pieces;
  Depths(std::int64_t planes, std::int64_t tap_count) {
    const auto equal = [](std::int64_t n, std::int64_t limit, std::int64_t &count) {
      count = std::max<std::int64_t>(1, (n + limit - 1) / limit);
      return (n + count - 1) / count;
    };
    taps = equal(tap_count, kDepth, tap_pieces);
    channels = equal(planes, std::max<std::int64_t>(1, kDepth / std::max<std::int64_t>(1, taps)),
                     channel_pieces);
  }
  std::int64_t count() const { return channel_pieces * tap_pieces; }
};

// Neighbouring positions of one row of outputs, as lanes [lane, lane + count) of a tile.
struct Run {
  std::int64_t source, out, lane, count;
};

template <class T> struct Panel {
  std::array<Run, kColumns<T>> runs;
  std::int64_t count = 0, lanes = 0;
  bool flat = false; // one full row of neighbouring outputs
};

// Walks over the positions of a band.
template <class T> class Walk {
public:
  Walk(const Correlation &correlation, const Correlation::Band &band, std::int64_t source_sample,
       std::int64_t out_sample)
      : correlation_(correlation), band_(band), source_sample_(source_sample),
        out_sample_(out_sample) {}

  bool next(Panel<T> &panel) {
    panel.count = panel.lanes = 0;
    panel.flat = correlation_.out_step() == 1;
    while (panel.lanes < kColumns<T> && sample_ < band_.samples) {
      const std::int64_t count = std::min(kColumns<T> - panel.lanes, band_.columns - x_);
      const Run run{sample_ * source_sample_ + y_ * correlation_.row_step() + x_,
                    sample_ * out_sample_ + correlation_.out_at(band_.y + y_, band_.x + x_),
                    panel.lanes, count};
      if (panel.count > 0) {
        const Run &last = panel.runs[static_cast<std::size_t>(panel.count - 1)];
        panel.flat = panel.flat && run.out == last.out + last.count;
      }
      panel.runs[static_cast<std::size_t>(panel.count++)] = run;
      panel.lanes += count;
      x_ += count;
      if (x_ == band_.columns) {
        x_ = 0;
        if (++y_ == band_.rows) {
          y_ = 0;
          ++sample_;
        }
      }
    }
    panel.flat = panel.flat && panel.lanes == kColumns<T>;
    return panel.lanes > 0;
  }

private:
  const Correlation &correlation_;
  const Correlation::Band &band_;
  std::int64_t source_sample_, out_sample_, sample_ = 0, y_ = 0, x_ = 0;
};

// columns[k][lane]: whole vectors are moved, and what they carry too much is overwritten by the
// next run or row. `known`: the number of runs, 0 for any.
template <int known, class T>
void gather_runs(const Panel<T> &panel, Depth depth, const std::int64_t *offsets,
                 std::int64_t plane, const T *source, T *columns) {
  constexpr std::int64_t L = kLanes<T>;
  const std::int64_t count = known ? known : panel.count;
  std::array<std::int64_t, kColumns<T>> from, to;
  std::array<bool, kColumns<T>> wide;
  for (std::int64_t r = 0; r < count; ++r) {
    const auto i = static_cast<std::size_t>(r);
    from[i] = panel.runs[i].source;
    to[i] = panel.runs[i].lane;
    wide[i] = panel.runs[i].count > L;
  }
  for (std::int64_t c = 0; c < depth.channels; ++c, source += plane)
    for (std::int64_t t = 0; t < depth.taps; ++t, columns += kColumns<T>) {
      const T *at = source + offsets[t];
#pragma GCC unroll 4
      for (std::int64_t r = 0; r < count; ++r) {
        const auto i = static_cast<std::size_t>(r);
        lanes(columns + to[i]) = lanes(at + from[i]);
        if (wide[i])
          lanes(columns + to[i] + L) = lanes(at + from[i] + L);
      }
    }
}

template <class T>
void gather(const Panel<T> &panel, Depth depth, const std::int64_t *offsets, std::int64_t plane,
            const T *source, T *columns) {
  switch (panel.count) {
  case 1:
    return gather_runs<1>(panel, depth, offsets, plane, source, columns);
  case 2:
    return gather_runs<2>(panel, depth, offsets, plane, source, columns);
  case 4:
    return gather_runs<4>(panel, depth, offsets, plane, source, columns);
  default:
    return gather_runs<0>(panel, depth, offsets, plane, source, columns);
  }
}

// c[i][·] = bias[i] + Σ_k w[i][k]·columns[k][·], or c += Σ
template <class T, int R>
[[gnu::noinline]] void tile(std::int64_t depth, const T *w, std::int64_t w_row, const T *columns,
                            const T *bias, Into into, T *c, std::int64_t c_row) {
  constexpr std::int64_t L = kLanes<T>;
  Lanes<T> sums[R][2];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
    sums[i][0] = sums[i][1] = Lanes<T>{} + (bias ? bias[i] : T(0));
  for (std::int64_t k = 0; k < depth; ++k, columns += 2 * L) {
    Lanes<T> left = lanes(columns), right = lanes(columns + L);
    hold(left);
    hold(right);
    for (int i = 0; i < R; ++i) {
      const T weight = w[i * w_row + k];
      sums[i][0] += weight * left;
      sums[i][1] += weight * right;
    }
  }
  for (int i = 0; i < R; ++i, c += c_row) {
    if (into == Into::add) {
      lanes(c) += sums[i][0];
      lanes(c + L) += sums[i][1];
    } else {
      lanes(c) = sums[i][0];
      lanes(c + L) = sums[i][1];
    }
  }
}

template <class T>
void tile_of(std::int64_t rows, std::int64_t depth, const T *w, std::int64_t w_row,
             const T *columns, const T *bias, Into into, T *c, std::int64_t c_row) {
  switch (rows) {
  case 6:
    return tile<T, 6>(depth, w, w_row, columns, bias, into, c, c_row);
  case 5:
    return tile<T, 5>(depth, w, w_row, columns, bias, into, c, c_row);
  case 4:
    return tile<T, 4>(depth, w, w_row, columns, bias, into, c, c_row);
  case 3:
    return tile<T, 3>(depth, w, w_row, columns, bias, into, c, c_row);
  case 2:
    return tile<T, 2>(depth, w, w_row, columns, bias, into, c, c_row);
  default:
    return tile<T, 1>(depth, w, w_row, columns, bias, into, c, c_row);
  }
}

template <class T>
void scatter(const Panel<T> &panel, std::int64_t rows, std::int64_t step, const T *sums, Into into,
             T *out, std::int64_t out_row) {
  for (std::int64_t i = 0; i < rows; ++i, sums += kColumns<T>, out += out_row)
    for (std::int64_t r = 0; r < panel.count; ++r) {
      const Run &run = panel.runs[static_cast<std::size_t>(r)];
      T *to = out + run.out;
      for (std::int64_t j = 0; j < run.count; ++j)
        to[j * step] = (into == Into::add ? to[j * step] : T(0)) + sums[run.lane + j];
    }
}

template <class T> struct Task {
  const Correlation &correlation;
  std::int64_t groups;
  Planes<const T> source;
  const T *weights, *bias;
  Into into;
  Planes<T> out;

  // One band of one group.
  void run(const Correlation::Band &band, std::int64_t group) const {
    const Depths depths(source.planes, correlation.tap_count());
    const std::int64_t copied = depths.channels * correlation.plane_length(),
                       source_sample = groups * source.planes * source.plane,
                       out_sample = groups * out.planes * out.plane,
                       panel_size = aligned_size<T>(depths.channels * depths.taps * kColumns<T> +
                                                    2 * kColumns<T>);
    const std::int64_t samples =
        std::max<std::int64_t>(1, correlation.largest_band() / correlation.positions());
    T *const columns = thread_scratch<T, 0>(panel_size + samples * copied + 2 * kColumns<T>);
    T *const copy = columns + panel_size;
    for (std::int64_t piece = 0; piece < depths.count(); ++piece) {
      const Depth depth = depth_of(depths, piece);
      if (depth.t == 0)
        correlation.copy(band, depth.channels,
                         source.data + band.sample * source_sample +
                             (group * source.planes + depth.c) * source.plane,
                         source_sample, copy);
      multiply(band, group, depth, piece == 0 ? into : Into::add, copy,
               out.data + band.sample * out_sample + group * out.planes * out.plane, columns);
    }
  }

private:
  Depth depth_of(const Depths &depths, std::int64_t piece) const {
    const std::int64_t c = piece / depths.tap_pieces * depths.channels,
                       t = piece % depths.tap_pieces * depths.taps;
    return {c, std::clamp<std::int64_t>(source.planes - c, 0, depths.channels), t,
            std::clamp<std::int64_t>(correlation.tap_count() - t, 0, depths.taps)};
  }

  void multiply(const Correlation::Band &band, std::int64_t group, Depth depth, Into how,
                const T *copy, T *to, T *columns) const {
    const std::int64_t taps = correlation.tap_count(), weight_row = source.planes * taps;
    const T *w = weights + group * out.planes * weight_row + depth.c * taps + depth.t;
    const T *b = how == Into::set && bias ? bias + group * out.planes : nullptr;
    const std::int64_t length = depth.channels * depth.taps;
    const std::int64_t tiles = (out.planes + kRows - 1) / kRows;
    Walk<T> walk(correlation, band, depth.channels * correlation.plane_length(),
                 groups * out.planes * out.plane);
    Panel<T> panel;
    alignas(kAlignment) T sums[kRows * kColumns<T>];
    while (walk.next(panel)) {
      gather(panel, depth, correlation.offsets().data() + depth.t, correlation.plane_length(), copy,
             columns);
      for (std::int64_t i = 0; i < tiles; ++i) {
        const std::int64_t first = out.planes * i / tiles,
                           rows = out.planes * (i + 1) / tiles - first;
        T *const target = to + first * out.plane;
        const T *start = b ? b + first : nullptr;
        if (panel.flat)
          tile_of<T>(rows, length, w + first * weight_row, weight_row, columns, start, how,
                     target + panel.runs[0].out, out.plane);
        else {
          tile_of<T>(rows, length, w + first * weight_row, weight_row, columns, start, Into::set,
                     sums, kColumns<T>);
          scatter(panel, rows, correlation.out_step(), sums, how, target, out.plane);
        }
      }
    }
  }
};

} // namespace

template <class T>
void correlate(Team team, const Correlation &correlation, std::int64_t rows, std::int64_t groups,
               Planes<const T> source, const T *weights, const T *bias, Into into, Planes<T> out) {
  if (few_planes(groups, source.planes, out.planes))
    return correlate_few(team, correlation, rows, groups, source, weights, bias, into, out);
  const Task<T> task{correlation, groups, source, weights, bias, into, out};
  const std::int64_t bands = correlation.band_count(rows);
  const std::int64_t work = rows * groups * correlation.positions() * out.planes * source.planes *
                            std::max<std::int64_t>(1, correlation.tap_count()) / 16;
  team.blocks(bands * groups, work,
              [&](std::int64_t id) { task.run(correlation.band(rows, id / groups), id % groups); });
}

template void correlate<float>(Team, const Correlation &, std::int64_t, std::int64_t,
                               Planes<const float>, const float *, const float *, Into,
                               Planes<float>);
template void correlate<double>(Team, const Correlation &, std::int64_t, std::int64_t,
                                Planes<const double>, const double *, const double *, Into,
                                Planes<double>);

} // namespace unstuck::nn
