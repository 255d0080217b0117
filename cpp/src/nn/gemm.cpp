// Matrix products through Eigen's single-threaded kernels.
#include "unstuck/nn/gemm.hpp"

#include <Eigen/Core>

namespace unstuck::nn {
namespace {

template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T> using View = Eigen::Map<const RowMajor<T>, 0, Eigen::OuterStride<>>;
template <class T> using Target = Eigen::Map<RowMajor<T>, 0, Eigen::OuterStride<>>;

// Below this m+n+k Eigen evaluates coefficient by coefficient, in an order that follows the address
// of C.
constexpr std::int64_t kTiny = 20;

template <class T>
void multiply_tiny(Transpose ta, Transpose tb, std::int64_t m, std::int64_t n, std::int64_t k,
                   const T *a, std::int64_t lda, const T *b, std::int64_t ldb, T *c,
                   std::int64_t ldc) {
  const std::int64_t a_row = ta == Transpose::yes ? 1 : lda,
                     a_column = ta == Transpose::yes ? lda : 1;
  const std::int64_t b_row = tb == Transpose::yes ? 1 : ldb,
                     b_column = tb == Transpose::yes ? ldb : 1;
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t p = 0; p < k; ++p)
      for (std::int64_t j = 0; j < n; ++j)
        c[i * ldc + j] += a[i * a_row + p * a_column] * b[p * b_row + j * b_column];
}

template <class T>
void multiply(Transpose ta, Transpose tb, std::int64_t m, std::int64_t n, std::int64_t k,
              const T *a, std::int64_t lda, const T *b, std::int64_t ldb, T *c, std::int64_t ldc) {
  if (m == 0 || n == 0 || k == 0)
    return;
  if (m + n + k < kTiny)
    return multiply_tiny(ta, tb, m, n, k, a, lda, b, ldb, c, ldc);
  Target<T> C(c, m, n, Eigen::OuterStride<>(ldc));
  const bool at = ta == Transpose::yes, bt = tb == Transpose::yes;
  const View<T> A(a, at ? k : m, at ? m : k, Eigen::OuterStride<>(lda));
  const View<T> B(b, bt ? n : k, bt ? k : n, Eigen::OuterStride<>(ldb));
  if (!at && !bt)
    C.noalias() += A * B;
  else if (!at)
    C.noalias() += A * B.transpose();
  else if (!bt)
    C.noalias() += A.transpose() * B;
  else
    C.noalias() += A.transpose() * B.transpose();
}

} // namespace

void gemm_add(Transpose ta, Transpose tb, std::int64_t m, std::int64_t n, std::int64_t k,
              const float *a, std::int64_t lda, const float *b, std::int64_t ldb, float *c,
              std::int64_t ldc) {
  multiply(ta, tb, m, n, k, a, lda, b, ldb, c, ldc);
}

void gemm_add(Transpose ta, Transpose tb, std::int64_t m, std::int64_t n, std::int64_t k,
              const double *a, std::int64_t lda, const double *b, std::int64_t ldb, double *c,
              std::int64_t ldc) {
  multiply(ta, tb, m, n, k, a, lda, b, ldb, c, ldc);
}

void pin_block_sizes() { Eigen::setCpuCacheSizes(32 * 1024, 512 * 1024, 4 * 1024 * 1024); }

} // namespace unstuck::nn
