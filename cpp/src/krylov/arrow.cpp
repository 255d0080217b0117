// Inertia and eigenpairs of an arrow followed by a tridiagonal part.
#include "unstuck/krylov/arrow.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

#include "unstuck/error.hpp"

namespace unstuck {
namespace {

constexpr double kSmallestPivot = 1e-290; // after scaling: its inverse times a coupling² is finite

bool is_arrow(const Arrow &a) { return !a.spikes.empty() && a.spikes.size() < a.diagonal.size(); }

bool is_diagonal(const Arrow &a) { return !a.spikes.empty() && !is_arrow(a); }

int exponent_of(const Arrow &a) {
  const auto head = a.spikes.size();
  const Tridiagonal top{a.diagonal.first(std::min(head, a.diagonal.size())), a.spikes};
  const Tridiagonal rest{a.diagonal.subspan(head), a.coupling.subspan(head)};
  return std::max(scale_exponent(top), scale_exponent(rest));
}

TridiagonalEigen diagonal_eigen(const Arrow &a, std::span<const std::int64_t> rows) {
  const std::vector<double> none(a.diagonal.size(), 0.0);
  return eigen(Tridiagonal{a.diagonal, none}, rows);
}

} // namespace

std::int64_t count_below(const Arrow &a, double x) {
  if (is_diagonal(a))
    return std::ranges::count_if(a.diagonal, [x](double d) { return d < x; });
  if (!is_arrow(a))
    return count_below(Tridiagonal{a.diagonal, a.coupling}, x);
  require(!std::isnan(x), "`x` must be a number, got NaN");
  if (std::isinf(x))
    return x > 0 ? a.size() : 0;
  const int exponent = exponent_of(a);
  const double scale = std::ldexp(1.0, -exponent);
  const double shift = std::clamp(std::ldexp(x, -exponent), -1e300, 1e300);
  const auto pivot_of = [](double d) { return std::abs(d) < kSmallestPivot ? kSmallestPivot : d; };
  std::int64_t count = 0;
  double taken = 0.0; // Σ σ_i²/d_i from the spikes, then β²/d of the row before
  for (std::size_t j = 0; j < a.diagonal.size(); ++j) {
    const bool in_head = j < a.spikes.size();
    const double pivot = pivot_of(a.diagonal[j] * scale - shift - (in_head ? 0.0 : taken));
    count += pivot < 0.0;
    const double coupling = (in_head                     ? a.spikes[j]
                             : j + 1 < a.diagonal.size() ? a.coupling[j]
                                                         : 0.0) *
                            scale;
    taken = (in_head ? taken : 0.0) + coupling * coupling / pivot;
  }
  return count;
}

TridiagonalEigen eigen(const Arrow &a, std::span<const std::int64_t> rows) {
  if (is_diagonal(a))
    return diagonal_eigen(a, rows);
  if (!is_arrow(a))
    return eigen(Tridiagonal{a.diagonal, a.coupling}, rows);
  const auto size = static_cast<Eigen::Index>(a.diagonal.size());
  const auto head = static_cast<Eigen::Index>(a.spikes.size());
  const int exponent = exponent_of(a);
  Eigen::MatrixXd matrix = Eigen::MatrixXd::Zero(size, size); // the lower triangle is read
  for (Eigen::Index i = 0; i < size; ++i) {
    const auto entry = static_cast<std::size_t>(i);
    matrix(i, i) = std::ldexp(a.diagonal[entry], -exponent);
    if (i < head)
      matrix(head, i) = std::ldexp(a.spikes[entry], -exponent);
    else if (i + 1 < size)
      matrix(i + 1, i) = std::ldexp(a.coupling[entry], -exponent);
  }
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(matrix);
  require(solver.info() == Eigen::Success,
          "the projected eigenproblem did not converge; are all entries finite?");
  TridiagonalEigen result;
  for (Eigen::Index i = 0; i < size; ++i) {
    result.values.push_back(std::ldexp(solver.eigenvalues()[i], exponent));
    for (const std::int64_t row : rows) {
      require(row >= 0 && row < a.size(), "row ", row, " is outside [0, ", a.size(), ")");
      result.components.push_back(solver.eigenvectors()(row, i));
    }
  }
  return result;
}

} // namespace unstuck
