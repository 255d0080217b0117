// The only OpenMP of the project: constant-size blocks, ordered reductions, exceptions that cross
// safely, a fork guard.
//
// Results never depend on the number of threads: a block is a constant number of elements, a
// block's partial result goes to its own place, and partial results are added in block order.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <limits>
#include <mutex>
#include <vector>

namespace unstuck {

// Threads that the next parallel region will use: the number set by the user, else
// min(OpenMP's setting, CPU affinity, cgroup quota), read now. 1 inside a region and, by default,
// in a forked child.
int thread_count();

// k = 0 returns to the automatic choice. Ignored in a forked child whose parent's pool could not be
// put to rest.
void set_thread_count(int k);

// Elementary operations (about a nanosecond each) below which a second thread costs more than it
// brings.
inline constexpr std::int64_t kParallelGrain = 16'384;

namespace detail {

// Marks that a region is open, so that fork's prepare handler leaves the pool alone.
class RegionGuard {
public:
  RegionGuard();
  ~RegionGuard();
  RegionGuard(const RegionGuard &) = delete;
  RegionGuard &operator=(const RegionGuard &) = delete;
};

// Keeps the exception of the lowest block, so that the one reported is the same for any thread
// count.
class FirstException {
public:
  void store(std::int64_t block) noexcept {
    const std::scoped_lock lock(mutex_);
    if (block < block_) {
      block_ = block;
      exception_ = std::current_exception();
    }
  }
  void rethrow() const {
    if (exception_)
      std::rethrow_exception(exception_);
  }

private:
  std::mutex mutex_;
  std::int64_t block_ = std::numeric_limits<std::int64_t>::max();
  std::exception_ptr exception_;
};

int thread_index();

} // namespace detail

// Calls body(block, slot) for block = 0 … blocks-1; slot < min(thread_count(), slots) names a
// thread's workspace. `work` is the estimated number of elementary operations of all blocks
// together, `slots` the number of workspaces that the caller has (the thread count may change
// between making them and this call).
template <class Body>
void parallel_blocks(std::int64_t blocks, std::int64_t work, Body &&body,
                     std::int64_t slots = 4096) {
  const std::int64_t available = work < kParallelGrain || blocks < 2 ? 1 : thread_count();
  const int threads = static_cast<int>(std::min({available, blocks, slots}));
  if (threads <= 1) {
    for (std::int64_t block = 0; block < blocks; ++block)
      body(block, 0);
    return;
  }
  std::atomic<std::int64_t> next{0};
  detail::FirstException first;
  {
    const detail::RegionGuard guard;
#pragma omp parallel num_threads(threads)
    {
      const int slot = detail::thread_index();
      // Every block runs even after a throw, so that the lowest failing block is always found.
      for (std::int64_t block; (block = next.fetch_add(1, std::memory_order_relaxed)) < blocks;) {
        try {
          body(block, slot);
        } catch (...) {
          first.store(block);
        }
      }
    }
  }
  first.rethrow();
}

// Calls body(begin, end) on consecutive ranges of `grain` elements that cover [0, n).
template <class Body>
void parallel_ranges(std::int64_t n, std::int64_t grain, std::int64_t work, Body &&body) {
  const std::int64_t blocks = (n + grain - 1) / grain;
  parallel_blocks(blocks, work, [&](std::int64_t block, int) {
    const std::int64_t begin = block * grain;
    body(begin, begin + grain < n ? begin + grain : n);
  });
}

// Σ over ranges of body(begin, end), the partial sums added in range order.
template <class Body>
double parallel_sum(std::int64_t n, std::int64_t grain, std::int64_t work, Body &&body) {
  const std::int64_t blocks = (n + grain - 1) / grain;
  if (blocks <= 1)
    return n > 0 ? body(std::int64_t{0}, n) : 0.0;
  std::vector<double> partial(static_cast<std::size_t>(blocks));
  parallel_blocks(blocks, work, [&](std::int64_t block, int) {
    const std::int64_t begin = block * grain;
    partial[static_cast<std::size_t>(block)] = body(begin, begin + grain < n ? begin + grain : n);
  });
  double sum = 0.0;
  for (const double value : partial)
    sum += value;
  return sum;
}

} // namespace unstuck
