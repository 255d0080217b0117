// Correlation where a group has few planes, as in a depthwise convolution: vectors of positions are
// multiplied by one weight after the other where the copy with zeros holds them.
#include <algorithm>
#include <array>
#include <type_traits>

#include "unstuck/nn/correlation.hpp"
#include "unstuck/nn/lanes.hpp"

namespace unstuck::nn {
namespace {

constexpr int kPieces = 8; // vectors of positions that one weight meets
constexpr int kTaps = 9;   // sums of a tile of weights: 3 × 3

// Calls use(copy offset, output offset, count) for every vector of neighbouring positions of a
// band.
template <class T, class Use>
void each_vector(const Correlation &correlation, const Correlation::Band &band,
                 std::int64_t source_sample, std::int64_t out_sample, Use &&use) {
  for (std::int64_t s = 0; s < band.samples; ++s)
    for (std::int64_t y = 0; y < band.rows; ++y) {
      const std::int64_t from = s * source_sample + y * correlation.row_step(),
                         to = s * out_sample + correlation.out_at(band.y + y, band.x);
      for (std::int64_t x = 0; x < band.columns; x += kLanes<T>)
        use(from + x, to + x * correlation.out_step(), std::min(kLanes<T>, band.columns - x));
    }
}

// Vectors that wait for their weights.
template <class T> struct Pieces {
  std::array<const T *, kPieces> from;
  std::array<T *, kPieces> to;
  std::array<std::int64_t, kPieces> lanes;
  int count = 0;
};

// What a group's planes are multiplied by: offsets of the taps in the copy, one weight each.
template <class T> struct Filter {
  const std::int64_t *offsets;
  std::int64_t planes, taps, plane_length;
  const T *weights;
};

// The first `count` < 2·half lanes in pieces of half, half/2 … 1.
template <class T, std::int64_t half, class Vector>
void store_part(Into into, const Vector &sums, std::int64_t count, T *to) {
  typedef T Piece __attribute__((vector_size(half * sizeof(T)), aligned(alignof(T))));
  Piece low, high;
  __builtin_memcpy(&low, &sums, sizeof low);
  __builtin_memcpy(&high, reinterpret_cast<const char *>(&sums) + sizeof low, sizeof high);
  if (count & half) {
    Piece old{};
    if (into == Into::add)
      __builtin_memcpy(&old, to, sizeof old);
    old += low;
    __builtin_memcpy(to, &old, sizeof old);
    low = high;
    to += half;
  }
  if constexpr (half > 1)
    store_part<T, half / 2>(into, low, count & (half - 1), to);
}

template <class T>
void store(Into into, const Lanes<T> &sums, std::int64_t count, std::int64_t step, T *to) {
  if (step == 1 && count == kLanes<T>)
    lanes(to) = into == Into::add ? lanes(to) + sums : sums;
  else if (step == 1)
    store_part<T, kLanes<T> / 2>(into, sums, count, to);
  else
    for (std::int64_t j = 0; j < count; ++j)
      to[j * step] = (into == Into::add ? to[j * step] : T(0)) + sums[j];
}

template <class T, int N>
void filter_pieces(const Filter<T> &filter, T bias, Into into, std::int64_t step,
                   const Pieces<T> &pieces) {
  std::array<const T *, N> from;
  std::copy_n(pieces.from.begin(), N, from.begin());
  Lanes<T> sums[N];
#pragma GCC unroll 8
  for (int v = 0; v < N; ++v)
    sums[v] = Lanes<T>{} + bias;
  const T *w = filter.weights;
  for (std::int64_t c = 0; c < filter.planes; ++c)
    for (std::int64_t t = 0; t < filter.taps; ++t, ++w) {
      const std::int64_t at = c * filter.plane_length + filter.offsets[t];
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v)
        sums[v] += *w * lanes(from[static_cast<std::size_t>(v)] + at);
    }
#pragma GCC unroll 8
  for (int v = 0; v < N; ++v) {
    const auto i = static_cast<std::size_t>(v);
    store(into, sums[v], pieces.lanes[i], step, pieces.to[i]);
  }
}

template <class T, int N = kPieces>
void filter_all(const Filter<T> &filter, T bias, Into into, std::int64_t step, Pieces<T> &pieces) {
  if (pieces.count == N)
    filter_pieces<T, N>(filter, bias, into, step, pieces);
  else if constexpr (N > 1)
    filter_all<T, N - 1>(filter, bias, into, step, pieces);
  pieces.count = 0;
}

// The copy with zeros of one group's planes.
template <class T>
T *copy_of(const Correlation &correlation, const Correlation::Band &band, Planes<const T> source,
           std::int64_t groups, std::int64_t group) {
  const std::int64_t sample = groups * source.planes * source.plane;
  T *const copy = thread_scratch<T, 0>(band.samples * source.planes * correlation.plane_length() +
                                       2 * kLanes<T>);
  correlation.copy(band, source.planes,
                   source.data + band.sample * sample + group * source.planes * source.plane,
                   sample, copy);
  return copy;
}

template <class T> struct MaskOf {
  using Bits = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  typedef Bits type __attribute__((vector_size(kLaneBytes)));
};
template <class T> using Mask = typename MaskOf<T>::type;

// All bits of the first `count` lanes.
template <class T> Mask<T> first_lanes(std::int64_t count) {
  Mask<T> mask{};
  for (std::int64_t j = 0; j < count; ++j)
    mask[j] = -1;
  return mask;
}

// sums[t][·] += Σ source[offset[t] + position]·δ[position], R taps, lane by lane; δ ends at `end`
template <class T, int R>
void add_taps(const Correlation &correlation, const Correlation::Band &band,
              std::int64_t source_sample, std::int64_t delta_sample, const T *copy,
              const std::int64_t *offsets, const T *delta, const T *end, T *sums) {
  Lanes<T> sum[R];
  const T *from[R];
#pragma GCC unroll 9
  for (int t = 0; t < R; ++t) {
    sum[t] = lanes(sums + t * kLanes<T>);
    from[t] = copy + offsets[t];
  }
  each_vector<T>(correlation, band, source_sample, delta_sample,
                 [&](std::int64_t at, std::int64_t to, std::int64_t count) {
                   if (count == kLanes<T>) {
                     const Lanes<T> d = lanes(delta + to);
#pragma GCC unroll 9
                     for (int t = 0; t < R; ++t)
                       sum[t] += d * lanes(from[t] + at);
                     return;
                   }
                   // what lies behind the end of a row may be anything, NaN included
                   const Mask<T> inside = first_lanes<T>(count);
                   Lanes<T> d{};
                   if (delta + to + kLanes<T> <= end)
                     d = (Lanes<T>)((Mask<T>)lanes(delta + to) & inside);
                   else
                     for (std::int64_t j = 0; j < count; ++j)
                       d[j] = delta[to + j];
#pragma GCC unroll 9
                   for (int t = 0; t < R; ++t)
                     sum[t] += d * (Lanes<T>)((Mask<T>)lanes(from[t] + at) & inside);
                 });
#pragma GCC unroll 9
  for (int t = 0; t < R; ++t)
    lanes(sums + t * kLanes<T>) = sum[t];
}

template <class T, int R = kTaps>
void add_taps_of(std::int64_t taps, const Correlation &correlation, const Correlation::Band &band,
                 std::int64_t source_sample, std::int64_t delta_sample, const T *copy,
                 const std::int64_t *offsets, const T *delta, const T *end, T *sums) {
  if (taps == R)
    return add_taps<T, R>(correlation, band, source_sample, delta_sample, copy, offsets, delta, end,
                          sums);
  if constexpr (R > 1)
    add_taps_of<T, R - 1>(taps, correlation, band, source_sample, delta_sample, copy, offsets,
                          delta, end, sums);
}

} // namespace

template <class T>
void correlate_few(Team team, const Correlation &correlation, std::int64_t rows,
                   std::int64_t groups, Planes<const T> source, const T *weights, const T *bias,
                   Into into, Planes<T> out) {
  const std::int64_t bands = correlation.band_count(rows), taps = correlation.tap_count(),
                     out_sample = groups * out.planes * out.plane;
  const std::int64_t work =
      rows * groups * correlation.positions() * out.planes * (source.planes * taps + 4) / 8;
  team.blocks(bands * groups, work, [&](std::int64_t id) {
    const Correlation::Band band = correlation.band(rows, id / groups);
    const std::int64_t group = id % groups;
    const T *const copy = copy_of(correlation, band, source, groups, group);
    for (std::int64_t o = group * out.planes; o < (group + 1) * out.planes; ++o) {
      const Filter<T> filter{correlation.offsets().data(), source.planes, taps,
                             correlation.plane_length(), weights + o * source.planes * taps};
      const T start = bias && into == Into::set ? bias[o] : T(0);
      T *const to = out.data + band.sample * out_sample + o * out.plane;
      Pieces<T> pieces;
      each_vector<T>(correlation, band, source.planes * correlation.plane_length(), out_sample,
                     [&](std::int64_t at, std::int64_t target, std::int64_t count) {
                       const auto i = static_cast<std::size_t>(pieces.count);
                       pieces.from[i] = copy + at;
                       pieces.to[i] = to + target;
                       pieces.lanes[i] = count;
                       if (++pieces.count == kPieces)
                         filter_all(filter, start, into, correlation.out_step(), pieces);
                     });
      if (pieces.count > 0)
        filter_all(filter, start, into, correlation.out_step(), pieces);
    }
  });
}

template <class T>
void correlate_weights_few(Team team, const Correlation &correlation, std::int64_t rows,
                           std::int64_t groups, Planes<const T> source, Planes<const T> delta,
                           T *gradient) {
  const std::int64_t taps = correlation.tap_count(), pairs = source.planes * delta.planes,
                     delta_sample = groups * delta.planes * delta.plane;
  const std::int64_t work = rows * groups * correlation.positions() * pairs * (taps + 4) / 8;
  team.blocks(groups, work, [&](std::int64_t group) {
    T *const sums = thread_scratch<T, 1>(pairs * taps * kLanes<T>);
    std::fill_n(sums, pairs * taps * kLanes<T>, T(0));
    for (std::int64_t i = 0; i < correlation.band_count(rows); ++i) {
      const Correlation::Band band = correlation.band(rows, i);
      const T *const copy = copy_of(correlation, band, source, groups, group);
      for (std::int64_t pair = 0; pair < pairs; ++pair)
        for (std::int64_t t = 0; t < taps; t += kTaps)
          add_taps_of<T>(std::min<std::int64_t>(kTaps, taps - t), correlation, band,
                         source.planes * correlation.plane_length(), delta_sample,
                         copy + pair % source.planes * correlation.plane_length(),
                         correlation.offsets().data() + t,
                         delta.data + band.sample * delta_sample +
                             (group * delta.planes + pair / source.planes) * delta.plane,
                         delta.data + rows * delta_sample, sums + (pair * taps + t) * kLanes<T>);
    }
    T *const to = gradient + group * pairs * taps;
    for (std::int64_t k = 0; k < pairs * taps; ++k) {
      T sum = 0;
      for (std::int64_t j = 0; j < kLanes<T>; ++j)
        sum += sums[k * kLanes<T> + j];
      to[k] += sum;
    }
  });
}

#define UNSTUCK_INSTANTIATE(T)                                                                     \
  template void correlate_few<T>(Team, const Correlation &, std::int64_t, std::int64_t,            \
                                 Planes<const T>, const T *, const T *, Into, Planes<T>);          \
  template void correlate_weights_few<T>(Team, const Correlation &, std::int64_t, std::int64_t,    \
                                         Planes<const T>, Planes<const T>, T *);
UNSTUCK_INSTANTIATE(float)
UNSTUCK_INSTANTIATE(double)
#undef UNSTUCK_INSTANTIATE

} // namespace unstuck::nn
