// An orthonormal basis that grows vector by vector, and block Gram–Schmidt against it with float64
// coefficients.
//
// Rows are cut into blocks whose size depends on n alone and partial sums are added in block order:
// the same bits for any number of threads.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <vector>

namespace unstuck {

inline constexpr std::size_t kCacheLine = 64; // bytes

// T is the type that the vectors are stored in: float or double.
template <class T> class Basis {
public:
  // `capacity`: most vectors it can ever hold. Storage comes in chunks as it grows; vectors never
  // move.
  Basis(std::int64_t n, std::int64_t capacity);

  std::int64_t n() const { return n_; }
  std::int64_t size() const { return static_cast<std::int64_t>(vectors_.size()); }
  std::int64_t capacity() const { return capacity_; }
  std::span<const T> operator[](std::int64_t i) const;

  // Appends w·factor. Strong guarantee: a failed allocation changes nothing.
  void append(std::span<const double> w, double factor);

  void raise_capacity(std::int64_t capacity);

  // Replaces the vectors from `first` on by `count` combinations of them, in place:
  // weights[q·(size() − first) + i] of vector first + i in the q-th. count ≤ size() − first.
  void compress(std::span<const double> weights, std::int64_t first, std::int64_t count);

  // w ← (I − V·Vᵀ)·w. The last `recent` vectors first, in float64: of a Lanczos product they hold
  // all but rounding. Then one pass over the whole basis, and another wherever a pass has cut ‖w‖
  // to less than 1/√2. Adds Vᵀw into `coefficients` (size()); returns ‖w‖, or 0 when nothing but
  // rounding is left.
  double orthogonalise(std::span<double> w, std::span<double> coefficients,
                       std::int64_t recent = 0);

  // rows[q·n …] ← Σ_i weights[q·size + i]·v_i for q < count.
  void combine(std::span<const double> weights, std::int64_t count, std::span<double> rows) const;

private:
  struct Sums {
    double norm = 0.0;         // ‖w‖
    double coefficients = 0.0; // ‖Vᵀw‖
  };
  template <class Body>
  Sums sweep(std::span<double> w, std::int64_t sweeps, bool with_dots, Body &&body);
  void add_panel_dots(const double *panel, std::int64_t begin, std::int64_t rows,
                      double *sums) const;
  Sums dots(std::span<double> w);
  Sums subtract_recent(std::span<double> w, std::size_t recent, std::span<double> taken);
  Sums update(std::span<double> w, bool with_dots);
  Sums collect(bool with_dots);
  // in nanoseconds, roughly: a core multiplies and adds several entries in one
  std::int64_t work(std::int64_t sweeps) const { return n_ * (size() + 1) * sweeps / 4; }

  T *slot(std::int64_t i) const;

  std::int64_t n_, capacity_, rows_, blocks_;
  std::int64_t stride_, per_chunk_; // entries from vector to vector, vectors of a chunk
  struct Release {
    void operator()(T *p) const { std::free(p); }
  };
  std::vector<std::unique_ptr<T, Release>>
      chunks_; // never given back: a compressed basis grows again
  std::vector<const T *> vectors_;
  std::vector<double> partial_; // blocks × (size + 1): Vᵀw of the block, then its ‖w‖²
  std::vector<double> step_;    // coefficients of the present pass
};

// ‖w‖; overflows to infinity when Σw² does.
double norm(std::span<const double> w);

} // namespace unstuck
