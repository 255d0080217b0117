// Spectral normalisation (1802.05957): W = V/σ, σ = uᵀVw, with V (rows × columns) and vectors u, w
// that follow the largest singular value by power iteration, constants of every derivative.
//
//   ∂V = ŵ/σ − ⟨ŵ,V⟩/σ²·uwᵀ;  Rσ = uᵀV̇w,  RW = V̇/σ − V·Rσ/σ²
//   R∂V = Rŵ/σ − ŵ·Rσ/σ² − [(⟨Rŵ,V⟩ + ⟨ŵ,V̇⟩)/σ² − 2⟨ŵ,V⟩Rσ/σ³]·uwᵀ
#include <algorithm>
#include <array>
#include <cmath>

#include "unstuck/error.hpp"
#include "unstuck/nn/parametrization.hpp"
#include "unstuck/parallel.hpp"

namespace unstuck::nn {
namespace {

template <class T> class SpectralNorm final : public Parametrization<T> {
public:
  SpectralNorm(std::vector<std::int64_t> shape, std::int64_t iterations, double epsilon)
      : shape_(std::move(shape)), rows_(shape_.front()), columns_(1), iterations_(iterations),
        epsilon_(epsilon) {
    for (std::size_t axis = 1; axis < shape_.size(); ++axis)
      columns_ *= shape_[axis];
    band_ = std::max<std::int64_t>(1, kBand / columns_);
  }

  std::vector<ParameterShape> parameters() const override { return {{"weight_orig", shape_}}; }

  std::vector<typename Layer<T>::Buffer> buffers() const override {
    return {{{"weight_u", {rows_}}, 1.0}, {{"weight_v", {columns_}}, 1.0}};
  }

  void weight(const T *theta, const T *buffers, T *weight) const override {
    const double sigma = bilinear(buffers, theta);
    elements([=](std::int64_t i) { weight[i] = static_cast<T>(theta[i] / sigma); });
  }

  void gradient(const T *theta, const T *buffers, const T *d_weight, T *gradient) const override {
    const double sigma = bilinear(buffers, theta), along = inner(d_weight, theta);
    with_rank_one(buffers, -along / (sigma * sigma), gradient,
                  [=](std::int64_t i) { return d_weight[i] / sigma; });
  }

  void tangent(const T *theta, const T *buffers, const T *v, T *r_weight) const override {
    const double sigma = bilinear(buffers, theta), r = bilinear(buffers, v) / sigma;
    elements([=](std::int64_t i) { r_weight[i] = static_cast<T>((v[i] - r * theta[i]) / sigma); });
  }

  void product(const T *theta, const T *buffers, const T *v, const T *d_weight, const T *r_d_weight,
               T *product) const override {
    const double sigma = bilinear(buffers, theta), r = bilinear(buffers, v) / sigma;
    const double along = inner(d_weight, theta),
                 r_along = inner(r_d_weight, theta) + inner(d_weight, v);
    with_rank_one(buffers, (2.0 * along * r - r_along) / (sigma * sigma), product,
                  [=](std::int64_t i) { return (r_d_weight[i] - r * d_weight[i]) / sigma; });
  }

  // w ← Vᵀu/‖Vᵀu‖, u ← Vw/‖Vw‖
  void update_buffers(const T *theta, T *buffers) const override {
    T *u = buffers, *w = buffers + rows_;
    for (std::int64_t k = 0; k < iterations_; ++k) {
      parallel_ranges(columns_, kColumns, rows_ * columns_, [=, this](auto begin, auto end) {
        std::array<double, kColumns> sums{};
        for (std::int64_t i = 0; i < rows_; ++i)
          for (std::int64_t j = begin; j < end; ++j)
            sums[static_cast<std::size_t>(j - begin)] +=
                static_cast<double>(u[i]) * static_cast<double>(theta[i * columns_ + j]);
        for (std::int64_t j = begin; j < end; ++j)
          w[j] = static_cast<T>(sums[static_cast<std::size_t>(j - begin)]);
      });
      normalise(w, columns_);
      parallel_ranges(rows_, band_, rows_ * columns_, [=, this](auto begin, auto end) {
        for (std::int64_t i = begin; i < end; ++i)
          u[i] = static_cast<T>(dot(theta + i * columns_, w, columns_));
      });
      normalise(u, rows_);
    }
  }

private:
  static constexpr std::int64_t kBand = 16'384; // elements of a band of rows
  static constexpr std::int64_t kColumns = 64;

  // 8 interleaved sums: one order for any number of threads
  static double dot(const T *x, const T *y, std::int64_t n) {
    double lanes[8] = {};
    std::int64_t i = 0;
    for (; i + 8 <= n; i += 8)
      for (int k = 0; k < 8; ++k)
        lanes[k] += static_cast<double>(x[i + k]) * static_cast<double>(y[i + k]);
    double sum = 0.0;
    for (const double lane : lanes)
      sum += lane;
    for (; i < n; ++i)
      sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
    return sum;
  }

  void normalise(T *x, std::int64_t n) const {
    const double norm = std::max(std::sqrt(dot(x, x, n)), epsilon_);
    for (std::int64_t i = 0; i < n; ++i)
      x[i] = static_cast<T>(x[i] / norm);
  }

  // Σ over rows of row(i)
  template <class Row> double over_rows(Row &&row) const {
    return parallel_sum(rows_, band_, rows_ * columns_, [&](std::int64_t begin, std::int64_t end) {
      double sum = 0.0;
      for (std::int64_t i = begin; i < end; ++i)
        sum += row(i);
      return sum;
    });
  }

  // uᵀMw
  double bilinear(const T *buffers, const T *matrix) const {
    const T *u = buffers, *w = buffers + rows_;
    return over_rows([=, this](std::int64_t i) {
      return static_cast<double>(u[i]) * dot(matrix + i * columns_, w, columns_);
    });
  }

  // ⟨X,Y⟩
  double inner(const T *x, const T *y) const {
    return over_rows(
        [=, this](std::int64_t i) { return dot(x + i * columns_, y + i * columns_, columns_); });
  }

  template <class Body> void elements(Body &&body) const {
    parallel_ranges(rows_ * columns_, kBand, rows_ * columns_, [&](auto begin, auto end) {
      for (std::int64_t i = begin; i < end; ++i)
        body(i);
    });
  }

  // result = value(i) + factor·uwᵀ
  template <class Value>
  void with_rank_one(const T *buffers, double factor, T *result, Value &&value) const {
    const T *u = buffers, *w = buffers + rows_;
    parallel_ranges(rows_, band_, rows_ * columns_, [&](auto begin, auto end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const double scale = factor * static_cast<double>(u[i]);
        for (std::int64_t j = 0, k = i * columns_; j < columns_; ++j, ++k)
          result[k] = static_cast<T>(value(k) + scale * static_cast<double>(w[j]));
      }
    });
  }

  std::vector<std::int64_t> shape_;
  std::int64_t rows_, columns_, iterations_, band_ = 1;
  double epsilon_;
};

} // namespace

template <class T>
std::unique_ptr<Parametrization<T>> make_spectral_norm(const LayerSpec &spec,
                                                       const ParameterShape &weight) {
  if (spec.kind != "SpectralNorm")
    return nullptr;
  const auto iterations = static_cast<std::int64_t>(spec.option("iterations"));
  require(iterations > 0, "SpectralNorm needs at least one iteration, got ", iterations);
  return std::make_unique<SpectralNorm<T>>(weight.shape, iterations, spec.option("eps"));
}

template std::unique_ptr<Parametrization<float>> make_spectral_norm<float>(const LayerSpec &,
                                                                           const ParameterShape &);
template std::unique_ptr<Parametrization<double>>
make_spectral_norm<double>(const LayerSpec &, const ParameterShape &);

} // namespace unstuck::nn
