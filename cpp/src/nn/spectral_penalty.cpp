// The largest singular triplet of every weight by Lanczos on the smaller Gram matrix, and how it
// moves with the weight.
#include "unstuck/nn/spectral_penalty.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include <Eigen/Cholesky>

#include "unstuck/error.hpp"
#include "unstuck/krylov/lanczos.hpp"
#include "unstuck/parallel.hpp"

namespace unstuck::nn {
namespace {

using Vector = Eigen::VectorXd;
using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr double kSimple = 2e-6; // of 1 − (σ₂/σ₁)²: σ₁ is 1e-6 above σ₂
constexpr std::int64_t kWork = 16'384;

// W, or Wᵀ where that has fewer rows, divided by its largest entry: Gram matrices cannot overflow.
struct Scaled {
  Matrix a;
  bool transposed;
  double scale;
};

template <class T> double largest_entry(const T *w, std::int64_t n) {
  double largest = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double entry = std::abs(static_cast<double>(w[i]));
    if (!(entry <= std::numeric_limits<double>::max()))
      return std::numeric_limits<double>::quiet_NaN();
    largest = std::max(largest, entry);
  }
  return largest;
}

template <class T> Scaled scaled(const WeightMatrix &shape, const T *w, double scale) {
  const bool transposed = shape.rows > shape.columns;
  Scaled result{Matrix(std::min(shape.rows, shape.columns), std::max(shape.rows, shape.columns)),
                transposed, scale};
  for (std::int64_t i = 0; i < shape.rows; ++i)
    for (std::int64_t j = 0; j < shape.columns; ++j)
      (transposed ? result.a(j, i) : result.a(i, j)) =
          static_cast<double>(w[i * shape.columns + j]) / scale;
  return result;
}

// y = Aᵀx and z = Ay, in pieces that do not depend on the number of threads
void multiply_transposed(const Matrix &a, const Vector &x, Vector &y) {
  parallel_ranges(a.cols(), 256, a.size() / 4, [&](std::int64_t begin, std::int64_t end) {
    double *const out = y.data();
    std::fill(out + begin, out + end, 0.0);
    for (std::int64_t i = 0; i < a.rows(); ++i) {
      const double *row = a.data() + i * a.cols(), factor = x[i];
      for (std::int64_t j = begin; j < end; ++j)
        out[j] += factor * row[j];
    }
  });
}

double dot(const double *x, const double *y, std::int64_t n) {
  double lanes[8] = {};
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int k = 0; k < 8; ++k)
      lanes[k] += x[i + k] * y[i + k];
  double sum = 0.0;
  for (const double lane : lanes)
    sum += lane;
  for (; i < n; ++i)
    sum += x[i] * y[i];
  return sum;
}

void multiply(const Matrix &a, const Vector &y, Vector &z) {
  const std::int64_t band = std::max<std::int64_t>(1, kWork / a.cols());
  parallel_ranges(a.rows(), band, a.size() / 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      z[i] = dot(a.data() + i * a.cols(), y.data(), a.cols());
  });
}

// A's largest singular value with its vectors: u on the side of the rows.
struct Triplet {
  double sigma;
  Vector u, v;
};

// An irregular vector, the same for ever.
std::vector<double> start_vector(std::int64_t n) {
  std::vector<double> start(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < start.size(); ++i)
    start[i] = 0.5 + std::fmod(0.6180339887498949 * static_cast<double>(i + 1), 1.0);
  return start;
}

void ask(const Poll &poll) {
  if (poll)
    poll();
}

// Until ‖AAᵀu − σ²u‖ ≤ tolerance·σ².
Triplet largest_triplet(const Matrix &a, double tolerance, const Poll &poll) {
  const std::int64_t m = a.rows();
  Lanczos<double> state(m, std::min<std::int64_t>(m, 64), start_vector(m));
  Vector x(m), y(a.cols()), z(m);
  const auto gram = [&](std::span<const double> in, Vector &out) {
    std::copy(in.begin(), in.end(), x.data());
    multiply_transposed(a, x, y);
    multiply(a, y, out);
  };
  std::int64_t check = 12;
  while (!state.exhausted()) {
    ask(poll);
    if (state.steps() == state.capacity())
      state.raise_capacity(std::min(m, 2 * state.capacity()));
    gram(state.next(), z);
    state.push(std::span<const double>(z.data(), static_cast<std::size_t>(m)));
    if (state.steps() < check)
      continue;
    if (state.residuals().back() <= tolerance * state.ritz_values().back())
      break;
    check += check / 4;
  }
  Triplet result{0.0, Vector(m), Vector(a.cols())};
  const std::int64_t top = state.steps() - 1;
  state.ritz_vectors(std::span(&top, 1), std::span(result.u.data(), static_cast<std::size_t>(m)));
  multiply_transposed(a, result.u, result.v);
  result.sigma = std::sqrt(dot(result.v.data(), result.v.data(), a.cols()));
  result.v /= result.sigma;
  return result;
}

} // namespace

template <class T>
SpectralPenalty<T>::SpectralPenalty(double strength, std::vector<WeightMatrix> matrices)
    : strength_(strength), matrices_(std::move(matrices)) {}

template <class T>
double SpectralPenalty<T>::add_gradient(const T *omega, T *gradient, const Poll &poll) const {
  constexpr double tolerance = sizeof(T) == 4 ? 1e-8 : 1e-14; // below the rounding of the weights
  double sum = 0.0;
  for (const WeightMatrix &shape : matrices_) {
    const T *w = omega + shape.begin;
    const double scale = largest_entry(w, shape.rows * shape.columns);
    if (scale == 0.0)
      continue;
    if (std::isnan(scale)) {
      if (gradient)
        std::fill_n(gradient + shape.begin, shape.rows * shape.columns, static_cast<T>(scale));
      sum = scale;
      continue;
    }
    const Scaled s = scaled(shape, w, scale);
    const Triplet t = largest_triplet(s.a, tolerance, poll);
    const double sigma = scale * t.sigma;
    sum += 0.5 * strength_ * sigma * sigma;
    if (!gradient)
      continue;
    const Vector &left = s.transposed ? t.v : t.u, &right = s.transposed ? t.u : t.v;
    T *out = gradient + shape.begin;
    parallel_ranges(shape.rows, std::max<std::int64_t>(1, kWork / shape.columns),
                    shape.rows * shape.columns, [&](std::int64_t begin, std::int64_t end) {
                      for (std::int64_t i = begin; i < end; ++i)
                        for (std::int64_t j = 0; j < shape.columns; ++j)
                          out[i * shape.columns + j] +=
                              static_cast<T>(strength_ * sigma * left[i] * right[j]);
                    });
  }
  return sum;
}

namespace {

// σ²I − AAᵀ + σ²uuᵀ, a band of rows at a time.
Matrix shifted_gram(const Matrix &a, const Triplet &t, const Poll &poll) {
  constexpr std::int64_t band = 256;
  const std::int64_t m = a.rows();
  Matrix shifted = t.sigma * t.sigma * t.u * t.u.transpose();
  for (std::int64_t begin = 0; begin < m; begin += band) {
    ask(poll);
    const std::int64_t rows = std::min(band, m - begin);
    shifted.middleRows(begin, rows).noalias() -= a.middleRows(begin, rows) * a.transpose();
  }
  shifted.diagonal().array() += t.sigma * t.sigma;
  return shifted;
}

} // namespace

// What a product needs: A, its triplet, and the Cholesky factor of σ²I − AAᵀ + σ²uuᵀ.
template <class T> struct SpectralCurvature<T>::Factor {
  WeightMatrix shape;
  Scaled scaled;
  Triplet triplet;
  Eigen::LLT<Matrix> solver;

  // 1 − (σ₂/σ₁)² from above, by inverse iteration
  double gap() const {
    const std::int64_t m = scaled.a.rows();
    if (m == 1)
      return 1.0;
    if (solver.info() != Eigen::Success)
      return 0.0;
    const std::vector<double> start = start_vector(m);
    Vector x = Eigen::Map<const Vector>(start.data(), m);
    double inverse = 0.0;
    for (int k = 0; k < 20; ++k) {
      x -= triplet.u * triplet.u.dot(x);
      const double norm = x.norm();
      if (norm == 0.0)
        break;
      x /= norm;
      const Vector y = solver.solve(x);
      inverse = std::max(inverse, x.dot(y));
      x = y;
    }
    return 1.0 / (inverse * triplet.sigma * triplet.sigma);
  }
};

template <class T>
SpectralCurvature<T>::SpectralCurvature(const SpectralPenalty<T> &penalty, const T *omega,
                                        const Poll &poll)
    : strength_(penalty.strength()) {
  for (const WeightMatrix &shape : penalty.matrices()) {
    const T *w = omega + shape.begin;
    const double scale = largest_entry(w, shape.rows * shape.columns);
    require(scale > 0.0, "`spectral_penalty` has no second derivative where ", shape.name,
            scale == 0.0 ? " is 0" : " is not finite", "; move to another `theta`");
    Scaled a = scaled(shape, w, scale);
    Triplet t = largest_triplet(a.a, 1e-14, poll);
    Matrix shifted = shifted_gram(a.a, t, poll);
    ask(poll);
    factors_.push_back(std::make_unique<Factor>(
        Factor{shape, std::move(a), std::move(t), Eigen::LLT<Matrix>(shifted)}));
    const double gap = factors_.back()->gap();
    require(gap > kSimple,
            "`spectral_penalty` has no second derivative here: the largest singular ", "value of ",
            shape.name, " is not simple, the next is within ", 0.5 * gap,
            " of it (relative); move `theta` a little, or use spectral_penalty=0");
  }
}

template <class T> SpectralCurvature<T>::~SpectralCurvature() = default;

template <class T> std::int64_t SpectralCurvature<T>::bytes(const SpectralPenalty<T> &penalty) {
  std::int64_t sum = 0;
  for (const WeightMatrix &shape : penalty.matrices()) {
    const std::int64_t less = std::min(shape.rows, shape.columns);
    sum += 8 * (shape.rows * shape.columns + less * less);
  }
  return sum;
}

template <class T> void SpectralCurvature<T>::add_product(const T *direction, T *product) const {
  for (const auto &f : factors_) {
    const auto &[shape, s, t, solver] = *f;
    const Matrix d = scaled(shape, direction + shape.begin, 1.0).a;
    Vector dv(d.rows()), du(d.cols()), ab(d.rows()), at(d.cols());
    multiply(d, t.v, dv);
    multiply_transposed(d, t.u, du);
    const double r_sigma = dot(t.u.data(), dv.data(), d.rows());
    du -= r_sigma * t.v;
    multiply(s.a, du, ab);
    const Vector u = solver.solve(Vector(t.sigma * (dv - r_sigma * t.u) + ab));
    multiply_transposed(s.a, u, at);
    const Vector v = du + at; // σv̇
    T *out = product + shape.begin;
    for (std::int64_t i = 0; i < d.rows(); ++i)
      for (std::int64_t j = 0; j < d.cols(); ++j) {
        const double entry = r_sigma * t.u[i] * t.v[j] + t.sigma * u[i] * t.v[j] + t.u[i] * v[j];
        out[s.transposed ? j * shape.columns + i : i * shape.columns + j] +=
            static_cast<T>(strength_ * entry);
      }
  }
}

template class SpectralPenalty<float>;
template class SpectralPenalty<double>;
template class SpectralCurvature<float>;
template class SpectralCurvature<double>;

} // namespace unstuck::nn
