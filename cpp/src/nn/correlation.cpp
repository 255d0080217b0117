// Where taps, bands and positions of a correlation stand, and the copies with zeros around.
#include "unstuck/nn/correlation.hpp"

#include <algorithm>

#include "unstuck/nn/lanes.hpp"

namespace unstuck::nn {
namespace {

constexpr std::int64_t kBandPositions = 512; // some 100 KiB of 32 planes and as much of outputs
constexpr std::int64_t kSamplePositions = 256;
constexpr std::int64_t kLongRow = 1024;

std::int64_t pieces(std::int64_t n, std::int64_t limit) {
  return std::max<std::int64_t>(1, (n + limit - 1) / limit);
}

// The largest of equal pieces of n below `limit`.
std::int64_t piece(std::int64_t n, std::int64_t limit) {
  const std::int64_t count = pieces(n, limit);
  return (n + count - 1) / count;
}

// to = `first` zeros, from[first … last), zeros up to n; up to one vector behind is overwritten,
// too.
template <class T>
void copy_row(const T *from, std::int64_t first, std::int64_t last, std::int64_t n, T *to) {
  constexpr std::int64_t L = kLanes<T>;
  for (std::int64_t i = 0; i < first; i += L)
    lanes(to + i) = Lanes<T>{};
  std::int64_t i = first;
  for (; i + L <= last; i += L)
    lanes(to + i) = lanes(from + i);
  if (i < last && last - first >= L)
    lanes(to + last - L) = lanes(from + last - L);
  else if (last - first >= L / 2) { // two halves that overlap
    constexpr std::size_t half = L / 2 * sizeof(T);
    __builtin_memcpy(to + first, from + first, half);
    __builtin_memcpy(to + last - L / 2, from + last - L / 2, half);
  } else
    for (; i < last; ++i)
      to[i] = from[i];
  for (i = last; i < n; i += L)
    lanes(to + i) = Lanes<T>{};
}

} // namespace

Correlation::Correlation(CorrelationAxis y, CorrelationAxis x, std::int64_t out_row,
                         std::vector<Tap> taps)
    : y_(y), x_(x), out_row_(out_row), taps_(std::move(taps)), reach_(0) {
  columns_ = x_.count > kLongRow ? piece(x_.count, kBandPositions) : x_.count;
  rows_ = piece(y_.count, std::max<std::int64_t>(1, kBandPositions / columns_));
  column_count_ = pieces(x_.count, columns_);
  row_count_ = pieces(y_.count, rows_);
  samples_ = row_count_ * column_count_ > 1
                 ? 1
                 : std::max<std::int64_t>(1, kSamplePositions / positions());
  std::int64_t reach = 0;
  for (const Tap &tap : taps_) {
    reach_ = std::max(reach_, tap.row);
    reach = std::max(reach, tap.column);
  }
  phase_length_ = columns_ + reach;
  row_length_ = x_.step * phase_length_;
  plane_length_ = ((rows_ - 1) * y_.step + reach_ + 1) * row_length_;
  for (const Tap &tap : taps_)
    offsets_.push_back(tap.row * row_length_ + tap.phase * phase_length_ + tap.column);
}

std::int64_t Correlation::band_count(std::int64_t samples) const {
  return pieces(samples, samples_) * row_count_ * column_count_;
}

Correlation::Band Correlation::band(std::int64_t samples, std::int64_t index) const {
  const std::int64_t x = index % column_count_ * columns_, s = index / column_count_,
                     y = s % row_count_ * rows_, sample = s / row_count_ * samples_;
  return {sample, std::min(samples_, samples - sample), y, std::min(rows_, y_.count - y),
          x,      std::min(columns_, x_.count - x)};
}

template <class T>
void Correlation::copy(const Band &band, std::int64_t planes, const T *source,
                       std::int64_t sample_stride, T *out) const {
  const std::int64_t rows = (band.rows - 1) * y_.step + reach_ + 1, phases = x_.step;
  for (std::int64_t phase = 0; phase < phases; ++phase) {
    const std::int64_t at = (x_.begin + band.x) * phases + phase - x_.before, n = phase_length_;
    const std::int64_t first = at >= 0 ? 0 : std::min(n, (-at + phases - 1) / phases),
                       last = at >= x_.source
                                  ? first
                                  : std::clamp((x_.source - 1 - at) / phases + 1, first, n);
    for (std::int64_t p = 0; p < band.samples * planes; ++p) {
      const T *plane = source + p / planes * sample_stride + p % planes * source_plane();
      T *to = out + p * plane_length_ + phase * phase_length_;
      for (std::int64_t r = 0; r < rows; ++r, to += row_length_) {
        const std::int64_t y = (y_.begin + band.y) * y_.step + r - y_.before;
        const bool inside = y >= 0 && y < y_.source;
        const T *from = plane + (inside ? y : 0) * x_.source + at;
        if (phases == 1)
          copy_row(from, inside ? first : n, inside ? last : n, n, to);
        else
          for (std::int64_t i = 0; i < n; ++i)
            to[i] = inside && i >= first && i < last ? from[i * phases] : T(0);
      }
    }
  }
}

template void Correlation::copy<float>(const Band &, std::int64_t, const float *, std::int64_t,
                                       float *) const;
template void Correlation::copy<double>(const Band &, std::int64_t, const double *, std::int64_t,
                                        double *) const;

Correlation forward_correlation(const Window &window) {
  const auto axis = [](const WindowAxis &a) {
    return CorrelationAxis{a.size, a.padding, 0, a.stride, a.out};
  };
  std::vector<Tap> taps;
  for (std::int64_t i = 0; i < window.y.kernel; ++i)
    for (std::int64_t j = 0; j < window.x.kernel; ++j) {
      const std::int64_t x = j * window.x.dilation;
      taps.push_back({i * window.y.dilation, x % window.x.stride, x / window.x.stride,
                      i * window.x.kernel + j});
    }
  return {axis(window.y), axis(window.x), window.x.out, std::move(taps)};
}

namespace {

// With i + padding = stride·m + phase, tap k of output o reaches input i when
// o = m − (k·dilation − phase)/stride is whole.
CorrelationAxis phase_axis(const WindowAxis &a, std::int64_t phase) {
  const std::int64_t begin =
      std::max<std::int64_t>(0, (a.padding - phase + a.stride - 1) / a.stride);
  const std::int64_t room = a.size - 1 + a.padding - phase;
  const std::int64_t end = room < 0 ? begin : std::max(begin, room / a.stride + 1);
  return {a.out,       (a.kernel - 1) * a.dilation / a.stride, begin,   1,
          end - begin, a.stride * begin + phase - a.padding,   a.stride};
}

std::vector<std::int64_t> phase_taps(const WindowAxis &a, std::int64_t phase) {
  std::vector<std::int64_t> taps;
  for (std::int64_t k = 0; k < a.kernel; ++k)
    if (k * a.dilation % a.stride == phase)
      taps.push_back(k);
  return taps;
}

std::int64_t shift(const WindowAxis &a, std::int64_t phase, std::int64_t k) {
  return (a.kernel - 1) * a.dilation / a.stride - (k * a.dilation - phase) / a.stride;
}

} // namespace

std::vector<Correlation> backward_correlations(const Window &window) {
  std::vector<Correlation> list;
  for (std::int64_t i = 0; i < window.y.stride; ++i)
    for (std::int64_t j = 0; j < window.x.stride; ++j) {
      const CorrelationAxis y = phase_axis(window.y, i), x = phase_axis(window.x, j);
      if (y.count <= 0 || x.count <= 0)
        continue;
      std::vector<Tap> taps;
      for (const std::int64_t k : phase_taps(window.y, i))
        for (const std::int64_t l : phase_taps(window.x, j))
          taps.push_back(
              {shift(window.y, i, k), 0, shift(window.x, j, l), k * window.x.kernel + l});
      list.emplace_back(y, x, window.x.size, std::move(taps));
    }
  return list;
}

} // namespace unstuck::nn
