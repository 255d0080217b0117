// Row-blocked Gram–Schmidt kernels: inner products with, updates by and combinations of basis
// vectors.
#include "unstuck/krylov/basis.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>
#include <type_traits>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "unstuck/error.hpp"
#include "unstuck/krylov/vectors.hpp"
#include "unstuck/parallel.hpp"

namespace unstuck {
namespace {

constexpr std::int64_t kPanel = 1024;   // rows of w and of four vectors: the first-level cache
constexpr std::int64_t kCombined = 256; // rows of all combinations at once: the second-level cache
constexpr std::int64_t kMinimalRows = 1024; // rows of a parallel block
constexpr std::int64_t kMostBlocks = 512;   // bounds the memory of partial sums
constexpr std::int64_t kChunkBytes = 1 << 22;
constexpr int kMostPasses = 6;
// sums[i] += ⟨v_i, w⟩ over `rows` rows, multiplied and added as C, for `Count` consecutive vectors
// from row `begin` on.
template <int Count, class C, class T>
void add_dots(const T *const *v, const C *w, std::int64_t begin, std::int64_t rows, double *sums) {
  constexpr int lanes = Vector<C>::lanes;
  Lanes<C> even[Count] = {}, odd[Count] = {};
  std::int64_t r = 0;
  for (; r + 2 * lanes <= rows; r += 2 * lanes) {
    const Lanes<C> w0 = load<C>(w + r), w1 = load<C>(w + r + lanes);
    for (int i = 0; i < Count; ++i) {
      even[i] += load<C>(v[i] + begin + r) * w0;
      odd[i] += load<C>(v[i] + begin + r + lanes) * w1;
    }
  }
  for (int i = 0; i < Count; ++i) {
    double sum = static_cast<double>(total<C>(even[i] + odd[i]));
    for (std::int64_t tail = r; tail < rows; ++tail)
      sum += static_cast<double>(v[i][begin + tail]) * static_cast<double>(w[tail]);
    sums[i] += sum;
  }
}

// w −= Σ_i c_i v_i over `rows` rows of w, which are those of v from row `begin` on, for `Count`
// consecutive vectors.
template <int Count, class C, class T>
void subtract(const T *const *v, const double *c, C *w, std::int64_t begin, std::int64_t rows) {
  constexpr int lanes = Vector<C>::lanes;
  Lanes<C> weights[Count];
  for (int i = 0; i < Count; ++i)
    weights[i] = static_cast<C>(c[i]) - Lanes<C>{};
  std::int64_t r = 0;
  for (; r + lanes <= rows; r += lanes) {
    Lanes<C> x = load<C>(w + r);
    for (int i = 0; i < Count; ++i)
      x -= load<C>(v[i] + begin + r) * weights[i];
    store<C>(w + r, x);
  }
  for (; r < rows; ++r)
    for (int i = 0; i < Count; ++i)
      w[r] -= static_cast<C>(v[i][begin + r]) * static_cast<C>(c[i]);
}

template <class C, class T>
void add_all_dots(std::span<const T *const> v, const C *w, std::int64_t begin, std::int64_t rows,
                  double *sums) {
  std::size_t i = 0;
  for (; i + 4 <= v.size(); i += 4)
    add_dots<4>(v.data() + i, w, begin, rows, sums + i);
  for (; i < v.size(); ++i)
    add_dots<1>(v.data() + i, w, begin, rows, sums + i);
}

template <class C, class T>
void subtract_all(std::span<const T *const> v, const double *c, C *w, std::int64_t begin,
                  std::int64_t rows) {
  std::size_t i = 0;
  for (; i + 4 <= v.size(); i += 4)
    subtract<4>(v.data() + i, c + i, w, begin, rows);
  for (; i < v.size(); ++i)
    subtract<1>(v.data() + i, c + i, w, begin, rows);
}

double squares(const double *w, std::int64_t rows) {
  double sum = 0.0;
  add_dots<1, double, double>(&w, w, 0, rows, &sum);
  return sum;
}

// Room for a chunk, in pages of 2 MiB where it fills some: a panel is one page of 4 KiB of each
// vector, so that looking up addresses would take as long as the sums.
void *chunk_of(std::size_t bytes) {
  std::size_t alignment = kCacheLine;
#ifdef __linux__
  constexpr std::size_t huge = std::size_t{1} << 21;
  if (bytes >= huge)
    alignment = huge;
#endif
  void *room = std::aligned_alloc(alignment, (bytes + kCacheLine - 1) / kCacheLine * kCacheLine);
  if (room == nullptr)
    throw std::bad_alloc();
#ifdef __linux__
  if (alignment == huge)
    madvise(room, bytes, MADV_HUGEPAGE); // advice only: without it the pages are small
#endif
  return room;
}

// Runs body(begin, rows) on the panels of [begin, end).
template <class Body>
void panels(std::int64_t begin, std::int64_t end, Body &&body, std::int64_t panel = kPanel) {
  for (; begin < end; begin += panel)
    body(begin, std::min(panel, end - begin));
}

} // namespace

template <class T>
Basis<T>::Basis(std::int64_t n, std::int64_t capacity)
    : n_(n), capacity_(capacity),
      rows_(std::max(kMinimalRows, (n / kMostBlocks + kPanel) / kPanel * kPanel)),
      blocks_((n + rows_ - 1) / rows_) {
  constexpr auto size_of = static_cast<std::int64_t>(sizeof(T));
  constexpr std::int64_t line = static_cast<std::int64_t>(kCacheLine) / size_of;
  stride_ = (n / line + (n % line != 0)) * line;
  per_chunk_ = std::clamp<std::int64_t>(kChunkBytes / size_of / stride_, 1, 64);
  raise_capacity(capacity);
}

template <class T> void Basis<T>::raise_capacity(std::int64_t capacity) {
  product(product(n_, capacity, "`n` x `capacity`"), static_cast<std::int64_t>(sizeof(T)),
          "`n` x `capacity` in bytes");
  capacity_ = std::max(capacity_, capacity);
}

template <class T> std::span<const T> Basis<T>::operator[](std::int64_t i) const {
  return {vectors_[static_cast<std::size_t>(i)], static_cast<std::size_t>(n_)};
}

template <class T> T *Basis<T>::slot(std::int64_t i) const {
  return chunks_[static_cast<std::size_t>(i / per_chunk_)].get() + stride_ * (i % per_chunk_);
}

template <class T> void Basis<T>::append(std::span<const double> w, double factor) {
  require(size() < capacity_, "the basis is full: it holds its capacity of ", capacity_,
          " vectors");
  const std::size_t most =
      (vectors_.size() / 64 + 1) * 64; // the scratch of the passes grows with the chunks
  vectors_.reserve(most);
  step_.reserve(most);
  partial_.reserve(static_cast<std::size_t>(blocks_) * (most + 1));
  if (static_cast<std::size_t>(size() / per_chunk_) == chunks_.size()) {
    const auto bytes = static_cast<std::size_t>(stride_ * per_chunk_) * sizeof(T);
    chunks_.reserve(chunks_.size() + 1);
    chunks_.emplace_back(static_cast<T *>(chunk_of(bytes)));
  }
  T *target = slot(size());
  parallel_ranges(n_, rows_, n_, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r)
      target[r] = static_cast<T>(w[static_cast<std::size_t>(r)] * factor);
  });
  vectors_.push_back(target);
}

template <class T>
void Basis<T>::compress(std::span<const double> weights, std::int64_t first, std::int64_t count) {
  const auto width = static_cast<std::size_t>(size() - first);
  require(count >= 0 && count <= size() - first, "a basis of ", size() - first,
          " vectors cannot be compressed to ", count);
  parallel_ranges(n_, rows_, work(count), [&](std::int64_t block_begin, std::int64_t block_end) {
    std::vector<double> rows(static_cast<std::size_t>(count * kCombined));
    std::vector<const T *> panel(width);
    panels(
        block_begin, block_end,
        [&](std::int64_t begin, std::int64_t size) {
          for (std::size_t i = 0; i < width; ++i)
            panel[i] = vectors_[static_cast<std::size_t>(first) + i] + begin;
          std::fill(rows.begin(), rows.end(), 0.0);
          for (std::int64_t q = 0; q < count; ++q)
            subtract_all<double, T>(panel, weights.data() + static_cast<std::size_t>(q) * width,
                                    rows.data() + q * kCombined, 0, size);
          for (std::int64_t q = 0; q < count; ++q) {
            T *target = slot(first + q) + begin;
            for (std::int64_t r = 0; r < size; ++r)
              target[r] = static_cast<T>(-rows[static_cast<std::size_t>(q * kCombined + r)]);
          }
        },
        kCombined);
  });
  vectors_.resize(static_cast<std::size_t>(first + count));
}

template <class T> typename Basis<T>::Sums Basis<T>::collect(bool with_dots) {
  const std::size_t width = vectors_.size() + 1;
  std::fill(step_.begin(), step_.end(), 0.0);
  Sums sums;
  for (std::int64_t b = 0; b < blocks_; ++b) {
    const double *block = partial_.data() + static_cast<std::size_t>(b) * width;
    if (with_dots)
      for (std::size_t i = 0; i + 1 < width; ++i)
        step_[i] += block[i];
    sums.norm += block[width - 1];
  }
  for (const double c : step_)
    sums.coefficients += c * c;
  sums.norm = std::sqrt(sums.norm);
  sums.coefficients = std::sqrt(sums.coefficients);
  return sums;
}

// One sweep over w, panel by panel: body(panel, first row, rows, the block's sums).
template <class T>
template <class Body>
typename Basis<T>::Sums Basis<T>::sweep(std::span<double> w, std::int64_t sweeps, bool with_dots,
                                        Body &&body) {
  const std::size_t width = vectors_.size() + 1;
  step_.resize(vectors_.size());
  partial_.assign(static_cast<std::size_t>(blocks_) * width, 0.0);
  parallel_blocks(blocks_, work(sweeps), [&](std::int64_t b, int) {
    double *sums = partial_.data() + static_cast<std::size_t>(b) * width;
    panels(b * rows_, std::min(n_, (b + 1) * rows_), [&](std::int64_t begin, std::int64_t rows) {
      double *panel = w.data() + begin;
      body(panel, begin, rows, sums);
      sums[width - 1] += squares(panel, rows);
    });
  });
  return collect(with_dots);
}

// Adds Vᵀw of a panel to `sums`. Products are of type T and a panel's are added up in T: the error
// is that of storing a vector.
template <class T>
void Basis<T>::add_panel_dots(const double *panel, std::int64_t begin, std::int64_t rows,
                              double *sums) const {
  if constexpr (std::is_same_v<T, double>) {
    add_all_dots<double, T>(vectors_, panel, begin, rows, sums);
  } else {
    T narrow[kPanel];
    for (std::int64_t r = 0; r < rows; ++r)
      narrow[r] = static_cast<T>(panel[r]);
    add_all_dots<T, T>(vectors_, narrow, begin, rows, sums);
  }
}

// step ← Vᵀw
template <class T> typename Basis<T>::Sums Basis<T>::dots(std::span<double> w) {
  return sweep(w, 1, true,
               [&](const double *panel, std::int64_t begin, std::int64_t rows, double *sums) {
                 add_panel_dots(panel, begin, rows, sums);
               });
}

// w −= V_r·V_rᵀw for the last `recent` vectors V_r in float64, their coefficients into `taken`;
// step ← Vᵀw of the new w.
template <class T>
typename Basis<T>::Sums Basis<T>::subtract_recent(std::span<double> w, std::size_t recent,
                                                  std::span<double> taken) {
  const auto last = std::span<const T *const>(vectors_).last(recent);
  partial_.assign(static_cast<std::size_t>(blocks_) * recent, 0.0);
  parallel_blocks(blocks_, n_ / 2, [&](std::int64_t b, int) {
    double *sums = partial_.data() + static_cast<std::size_t>(b) * recent;
    panels(b * rows_, std::min(n_, (b + 1) * rows_), [&](std::int64_t begin, std::int64_t rows) {
      add_all_dots<double, T>(last, w.data() + begin, begin, rows, sums);
    });
  });
  for (std::size_t i = 0; i < recent; ++i)
    for (std::int64_t b = 0; b < blocks_; ++b)
      taken[i] += partial_[static_cast<std::size_t>(b) * recent + i];
  return sweep(w, 1, true, [&](double *panel, std::int64_t begin, std::int64_t rows, double *sums) {
    subtract_all<double, T>(last, taken.data(), panel, begin, rows);
    add_panel_dots(panel, begin, rows, sums);
  });
}

// w −= V·step, summed in T, and where wanted step ← Vᵀw of the new w in the same sweep.
template <class T> typename Basis<T>::Sums Basis<T>::update(std::span<double> w, bool with_dots) {
  return sweep(w, with_dots ? 2 : 1, with_dots,
               [&](double *panel, std::int64_t begin, std::int64_t rows, double *sums) {
                 if constexpr (std::is_same_v<T, double>) {
                   subtract_all<double, T>(vectors_, step_.data(), panel, begin, rows);
                 } else {
                   T part[kPanel] = {};
                   subtract_all<T, T>(vectors_, step_.data(), part, begin, rows);
                   for (std::int64_t r = 0; r < rows; ++r)
                     panel[r] += static_cast<double>(part[r]);
                 }
                 if (with_dots)
                   add_panel_dots(panel, begin, rows, sums);
               });
}

template <class T>
double Basis<T>::orthogonalise(std::span<double> w, std::span<double> coefficients,
                               std::int64_t recent) {
  constexpr double rounding = 0.125 * std::numeric_limits<T>::epsilon();
  const auto local = static_cast<std::size_t>(std::min(recent, size()));
  Sums sums = local > 0 ? subtract_recent(w, local, coefficients.last(local)) : dots(w);
  for (int pass = 1; pass <= kMostPasses; ++pass) {
    if (!(sums.coefficients > rounding * sums.norm))
      return sums.norm;
    for (std::size_t i = 0; i < step_.size(); ++i)
      coefficients[i] += step_[i];
    // ‖w‖ falls below 1/√2 of itself: "twice is enough" unless that happens again (Kahan; Parlett,
    // The Symmetric Eigenvalue Problem, §6.9)
    const bool cancels = sums.coefficients * sums.coefficients > 0.5 * sums.norm * sums.norm;
    sums = update(w, cancels);
    if (!cancels)
      return sums.norm;
  }
  return 0.0;
}

template <class T>
void Basis<T>::combine(std::span<const double> weights, std::int64_t count,
                       std::span<double> rows) const {
  const auto width = vectors_.size();
  parallel_ranges(n_, rows_, work(count), [&](std::int64_t block_begin, std::int64_t block_end) {
    panels(block_begin, block_end, [&](std::int64_t begin, std::int64_t size) {
      for (std::int64_t q = 0; q < count; ++q) {
        double *target = rows.data() + q * n_;
        std::fill_n(target + begin, size, 0.0);
        // subtract with negated weights: −(−x) is exact
        subtract_all<double, T>(vectors_, weights.data() + static_cast<std::size_t>(q) * width,
                                target + begin, begin, size);
        for (std::int64_t r = begin; r < begin + size; ++r)
          target[r] = -target[r];
      }
    });
  });
}

double norm(std::span<const double> w) {
  const auto n = static_cast<std::int64_t>(w.size());
  return std::sqrt(parallel_sum(n, 1 << 14, n, [&](std::int64_t begin, std::int64_t end) {
    double sum = 0.0;
    panels(begin, end,
           [&](std::int64_t first, std::int64_t rows) { sum += squares(w.data() + first, rows); });
    return sum;
  }));
}

template class Basis<float>;
template class Basis<double>;

} // namespace unstuck
