// Correlation of planes with weights at taps, the sum behind a convolution's passes:
//
//   out(o, y, x) = Σ_c Σ_t w(o, c, t) · source(c, row(y) + t.row, column(x) + t.column)
//
// Forward it is the convolution itself; to its input, one correlation of δ for every phase of the
// stride; to its weights, the same sum over positions instead of taps.
#pragma once
#include <cstdint>
#include <vector>

#include "unstuck/nn/team.hpp"
#include "unstuck/nn/window.hpp"

namespace unstuck::nn {

// Columns of the source are sorted by x mod `phases`, so that those which a stride visits are
// neighbours; `column` counts within its phase.
struct Tap {
  std::int64_t row, phase, column;
  std::int64_t weight; // its place among the taps of the kernel
};

// Along one axis: `before` zeros stand in front of the source. Position o looks at
// (begin + o)·step + tap of the source with its zeros, and is written to out_begin + o·out_step.
struct CorrelationAxis {
  std::int64_t source = 1, before = 0, begin = 0, step = 1, count = 1;
  std::int64_t out_begin = 0, out_step = 1;
};

class Correlation {
public:
  Correlation(CorrelationAxis y, CorrelationAxis x, std::int64_t out_row, std::vector<Tap> taps);

  const std::vector<Tap> &taps() const { return taps_; }
  std::int64_t tap_count() const { return std::ssize(taps_); }
  std::int64_t positions() const { return y_.count * x_.count; }

  // A piece of the positions of some samples: several samples only with all of their positions.
  struct Band {
    std::int64_t sample, samples, y, rows, x, columns;
    std::int64_t size() const { return samples * rows * columns; }
  };
  std::int64_t band_count(std::int64_t samples) const;
  Band band(std::int64_t samples, std::int64_t index) const;
  std::int64_t largest_band() const { return samples_ * rows_ * columns_; }

  // Of the copy with zeros that a band works on, in numbers: of its planes, of their rows, from one
  // row of positions to the next, and from a position to what a tap sees.
  std::int64_t plane_length() const { return plane_length_; }
  std::int64_t row_step() const { return y_.step * row_length_; }
  const std::vector<std::int64_t> &offsets() const { return offsets_; }

  // Copies `planes` planes of every sample of the band, with their zeros.
  template <class T>
  void copy(const Band &band, std::int64_t planes, const T *source, std::int64_t sample_stride,
            T *out) const;

  std::int64_t out_at(std::int64_t y, std::int64_t x) const {
    return y_.out_begin * out_row_ + x_.out_begin + y * y_.out_step * out_row_ + x * x_.out_step;
  }
  std::int64_t out_step() const { return x_.out_step; }
  std::int64_t width() const { return x_.count; }
  std::int64_t source_plane() const { return y_.source * x_.source; }

private:
  CorrelationAxis y_, x_;
  std::int64_t out_row_;
  std::vector<Tap> taps_;
  std::int64_t samples_, rows_, columns_; // of a band, at most
  std::int64_t row_count_, column_count_; // bands along the axes
  std::int64_t row_length_, phase_length_, plane_length_, reach_;
  std::vector<std::int64_t> offsets_;
};

// The convolution h(o) = Σ W(o, c, ·) ⋆ a(c).
Correlation forward_correlation(const Window &window);

// d_a(c) = Σ W(o, c, ·) ⋆ δ(o): together these write every input once.
std::vector<Correlation> backward_correlations(const Window &window);

// Planes of one operand: `planes` of each of `groups` in every sample, `plane` numbers apart.
template <class T> struct Planes {
  T *data;
  std::int64_t planes, plane;
};

// out = bias + correlation, or out += correlation; `weights` are (groups, out.planes,
// source.planes·taps), `bias` (groups·out.planes) or null for 0.
enum class Into { set, add };
template <class T>
void correlate(Team team, const Correlation &correlation, std::int64_t rows, std::int64_t groups,
               Planes<const T> source, const T *weights, const T *bias, Into into, Planes<T> out);

// gradient(g, o, c, t) += Σ over samples and positions of source · delta.
template <class T>
void correlate_weights(Team team, const Correlation &correlation, std::int64_t rows,
                       std::int64_t groups, Planes<const T> source, Planes<const T> delta,
                       T *gradient);

// The same two for groups of few planes, to which they hand over.
inline bool few_planes(std::int64_t groups, std::int64_t source, std::int64_t out) {
  return groups > 1 && source * out <= 4;
}
template <class T>
void correlate_few(Team team, const Correlation &correlation, std::int64_t rows,
                   std::int64_t groups, Planes<const T> source, const T *weights, const T *bias,
                   Into into, Planes<T> out);
template <class T>
void correlate_weights_few(Team team, const Correlation &correlation, std::int64_t rows,
                           std::int64_t groups, Planes<const T> source, Planes<const T> delta,
                           T *gradient);

} // namespace unstuck::nn
