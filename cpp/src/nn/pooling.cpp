// Pooling: the largest or the mean value in a window that moves over every plane. Both are linear
// once it is known which value is the largest, so that both orders of derivative pass through
// alike.
#include <limits>

#include "unstuck/error.hpp"
#include "unstuck/nn/layer.hpp"
#include "unstuck/nn/window.hpp"

namespace unstuck::nn {
namespace {

constexpr std::int64_t kMostPositions = 1 << 24; // a position must fit a float's digits

// What both pools share: body(plane, index of the plane's first input, of its first output).
template <class T> class Pool : public Layer<T> {
public:
  Pool(std::int64_t inputs, const Window &window)
      : Layer<T>(inputs, window.channels * window.positions()), window_(window) {}

  std::int64_t work_per_row() const override { return this->outputs() * window_.taps() / 4 + 1; }

  // R h is the pool of Ra that the primal pass chose.
  void tangent_forward(Team team, std::int64_t rows, const T *, const T *, const T *,
                       const T *slope, const T *r_a, T *r_h) const override {
    take(team, rows, slope, r_a, r_h);
  }

  void backward(Team team, std::int64_t rows, const T *, const T *, const T *slope, const T *delta,
                T *d_a, T *) const override {
    if (d_a)
      spread(team, rows, slope, delta, d_a);
  }

  void tangent_backward(Team team, std::int64_t rows, const T *, const T *, const T *,
                        const T *slope, const T *, const T *, const T *, const T *r_delta, T *r_d_a,
                        T *) const override {
    if (r_d_a)
      spread(team, rows, slope, r_delta, r_d_a);
  }

protected:
  virtual void take(Team team, std::int64_t rows, const T *slope, const T *in, T *out) const = 0;
  virtual void spread(Team team, std::int64_t rows, const T *slope, const T *delta,
                      T *d_a) const = 0;

  template <class Body> void planes(Team team, std::int64_t rows, Body &&body) const {
    team.blocks(rows * window_.channels, rows * work_per_row(), [&](std::int64_t plane) {
      body(plane * window_.plane(), plane * window_.positions());
    });
  }

  // body(output, y range, x range, first input of the window)
  template <class Body> void positions(Body &&body) const {
    const WindowAxis &y = window_.y, &x = window_.x;
    std::int64_t out = 0;
    for (std::int64_t i = 0; i < y.out; ++i)
      for (std::int64_t j = 0; j < x.out; ++j, ++out)
        body(out, y.inside(i), x.inside(j), y.begin(i) * x.size + x.begin(j));
  }

  Window window_;
};

// Keeps for every output which input of the plane was the largest: the first of equals, and NaN
// before all, as PyTorch.
template <class T> class MaxPool final : public Pool<T> {
public:
  using Pool<T>::Pool;

  std::int64_t slope_per_row() const override { return this->outputs(); }

  void forward(Team team, std::int64_t rows, const T *, const T *, const T *a, T *h,
               T *slope) const override {
    const Window &w = this->window_;
    if (halves()) {
      this->planes(team, rows, [&](std::int64_t in, std::int64_t out) {
        halve(a + in, h + out, slope ? slope + out : nullptr);
      });
      return;
    }
    this->planes(team, rows, [&](std::int64_t in, std::int64_t out) {
      const T *plane = a + in;
      this->positions(
          [&](std::int64_t o, WindowAxis::Range y, WindowAxis::Range x, std::int64_t first) {
            T best = -std::numeric_limits<T>::infinity();
            std::int64_t where = first + y.first * w.y.dilation * w.x.size + x.first * w.x.dilation;
            for (std::int64_t i = y.first; i < y.last; ++i)
              for (std::int64_t j = x.first; j < x.last; ++j) {
                const std::int64_t at = first + i * w.y.dilation * w.x.size + j * w.x.dilation;
                const bool better = (plane[at] > best) | (plane[at] != plane[at]);
                best = better ? plane[at] : best;
                where = better ? at : where;
              }
            h[out + o] = best;
            if (slope)
              slope[out + o] = static_cast<T>(where);
          });
    });
  }

protected:
  void take(Team team, std::int64_t rows, const T *slope, const T *in, T *out) const override {
    const std::int64_t count = this->window_.positions();
    this->planes(team, rows, [=](std::int64_t i, std::int64_t o) {
      for (std::int64_t k = o; k < o + count; ++k)
        out[k] = in[i + static_cast<std::int64_t>(slope[k])];
    });
  }

  void spread(Team team, std::int64_t rows, const T *slope, const T *delta, T *d_a) const override {
    const std::int64_t count = this->window_.positions(), plane = this->window_.plane();
    this->planes(team, rows, [=](std::int64_t i, std::int64_t o) {
      std::fill_n(d_a + i, plane, T(0));
      for (std::int64_t k = o; k < o + count; ++k)
        d_a[i + static_cast<std::int64_t>(slope[k])] += delta[k];
    });
  }

private:
  // Whether windows of 2 × 2 stand side by side.
  bool halves() const {
    const auto alone = [](const WindowAxis &x) {
      return x.kernel == 2 && x.stride == 2 && x.padding == 0 && x.dilation == 1;
    };
    return alone(this->window_.y) && alone(this->window_.x);
  }

  // Chooses places by sums instead of branches, which no predictor would foresee.
  void halve(const T *plane, T *h, T *slope) const {
    const WindowAxis &y = this->window_.y, &x = this->window_.x;
    const auto better = [](T value, T best) {
      return static_cast<std::int64_t>((value > best) | (value != value));
    };
    for (std::int64_t i = 0; i < y.out; ++i)
      for (std::int64_t j = 0; j < x.out; ++j) {
        const std::int64_t first = 2 * (i * x.size + j), second = first + x.size;
        const std::int64_t up = first + better(plane[first + 1], plane[first]),
                           down = second + better(plane[second + 1], plane[second]);
        const std::int64_t at = up + better(plane[down], plane[up]) * (down - up);
        *h++ = plane[at];
        if (slope)
          *slope++ = static_cast<T>(at);
      }
  }
};

// Divides by the window's size with its padding, or by the inputs inside the plane.
// In 8 interleaved sums where the run is long.
template <class T> double run_sum(const T *x, std::int64_t n) {
  constexpr std::int64_t lanes = 8;
  double lane[lanes] = {}, sum = 0.0;
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (std::int64_t j = 0; j < lanes; ++j)
      lane[j] += static_cast<double>(x[i + j]);
  for (; i < n; ++i)
    sum += static_cast<double>(x[i]);
  for (std::int64_t j = 0; n >= lanes && j < lanes; ++j)
    sum += lane[j];
  return sum;
}

template <class T> class AvgPool final : public Pool<T> {
public:
  AvgPool(std::int64_t inputs, const Window &window, bool count_padding)
      : Pool<T>(inputs, window), count_padding_(count_padding) {}

  void forward(Team team, std::int64_t rows, const T *, const T *, const T *a, T *h,
               T *) const override {
    take(team, rows, nullptr, a, h);
  }

protected:
  void take(Team team, std::int64_t rows, const T *, const T *in, T *out) const override {
    const Window &w = this->window_;
    this->planes(team, rows, [&](std::int64_t i, std::int64_t o) {
      const T *plane = in + i;
      this->positions(
          [&](std::int64_t k, WindowAxis::Range y, WindowAxis::Range x, std::int64_t first) {
            const bool whole = x.last - x.first == w.x.size; // rows without a gap: one run
            const std::int64_t runs = whole ? 1 : y.last - y.first,
                               length = (y.last - y.first) * (x.last - x.first) / runs;
            double sum = 0.0;
            for (std::int64_t r = 0; r < runs; ++r)
              sum += run_sum(plane + first + (y.first + r) * w.x.size + x.first, length);
            out[o + k] = static_cast<T>(sum / divisor(y, x));
          });
    });
  }

  void spread(Team team, std::int64_t rows, const T *, const T *delta, T *d_a) const override {
    const Window &w = this->window_;
    this->planes(team, rows, [&](std::int64_t i, std::int64_t o) {
      T *plane = d_a + i;
      std::fill_n(plane, w.plane(), T(0));
      this->positions(
          [&](std::int64_t k, WindowAxis::Range y, WindowAxis::Range x, std::int64_t first) {
            const T share = static_cast<T>(static_cast<double>(delta[o + k]) / divisor(y, x));
            for (std::int64_t r = y.first; r < y.last; ++r)
              for (std::int64_t c = x.first; c < x.last; ++c)
                plane[first + r * w.x.size + c] += share;
          });
    });
  }

private:
  double divisor(WindowAxis::Range y, WindowAxis::Range x) const {
    const std::int64_t inside = (y.last - y.first) * (x.last - x.first);
    return static_cast<double>(count_padding_ ? this->window_.taps() : inside);
  }

  bool count_padding_;
};

} // namespace

std::vector<std::string> pooling_kinds() { return {"MaxPool2d", "AvgPool2d"}; }

template <class T>
std::unique_ptr<Layer<T>> make_pooling(const LayerSpec &spec, std::int64_t inputs) {
  if (spec.kind != "MaxPool2d" && spec.kind != "AvgPool2d")
    return nullptr;
  const Window window = make_window(spec, inputs);
  for (const WindowAxis &axis : {window.y, window.x}) {
    require(2 * axis.padding <= axis.kernel, spec.kind, ": padding ", axis.padding,
            " is more than half the kernel ", axis.kernel);
    for (std::int64_t o = 0; o < axis.out; ++o)
      require(axis.inside(o).first < axis.inside(o).last, spec.kind, ": window ", o,
              " lies in the padding alone");
  }
  if (spec.kind == "AvgPool2d") {
    require(window.y.dilation == 1 && window.x.dilation == 1, "AvgPool2d has no dilation");
    return std::make_unique<AvgPool<T>>(inputs, window, spec.option("count_include_pad") != 0.0);
  }
  require(window.plane() <= kMostPositions,
          "MaxPool2d takes planes of at most 2^24 positions, got ", window.plane());
  return std::make_unique<MaxPool<T>>(inputs, window);
}

template std::unique_ptr<Layer<float>> make_pooling<float>(const LayerSpec &, std::int64_t);
template std::unique_ptr<Layer<double>> make_pooling<double>(const LayerSpec &, std::int64_t);

} // namespace unstuck::nn
