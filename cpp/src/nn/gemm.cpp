// Matrix products through Eigen's single-threaded kernels.
#include "unstuck/nn/gemm.hpp"

#include <Eigen/Core>

namespace unstuck::nn {
namespace {

template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T> using View = Eigen::Map<const RowMajor<T>, 0, Eigen::OuterStride<>>;
template <class T> using Target = Eigen::Map<RowMajor<T>, 0, Eigen::OuterStride<>>;

template <class T>
void multiply(Transpose ta, Transpose tb, std::int64_t m, std::int64_t n, std::int64_t k,
              const T *a, std::int64_t lda, const T *b, std::int64_t ldb, T *c, std::int64_t ldc) {
  if (m == 0 || n == 0 || k == 0)
    return;
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
