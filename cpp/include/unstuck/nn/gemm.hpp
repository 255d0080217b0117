// Single-threaded matrix products on row-major matrices; Eigen stays behind these non-template
// functions.
#pragma once
#include <cstdint>

namespace unstuck::nn {

enum class Transpose { no, yes };

// C (m×n) += op(A) (m×k) · op(B) (k×n); lda, ldb, ldc are the row strides of the stored matrices.
// Summation order depends on the sizes only.
void gemm_add(Transpose ta, Transpose tb, std::int64_t m, std::int64_t n, std::int64_t k,
              const float *a, std::int64_t lda, const float *b, std::int64_t ldb, float *c,
              std::int64_t ldc);
void gemm_add(Transpose ta, Transpose tb, std::int64_t m, std::int64_t n, std::int64_t k,
              const double *a, std::int64_t lda, const double *b, std::int64_t ldb, double *c,
              std::int64_t ldc);

// Fixes the cache sizes that Eigen derives its block sizes from, so that bits do not depend on the
// machine's caches.
void pin_block_sizes();

} // namespace unstuck::nn
