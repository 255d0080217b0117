// Who does the work of a pass: the calling thread alone, or all threads over constant tiles. The
// bits are the same.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>

#include "unstuck/parallel.hpp"

namespace unstuck::nn {

// Called between pieces of long work, outside parallel regions; may throw to stop it (Ctrl-C).
using Poll = std::function<void()>;

// One of equal pieces of [0, n): rounding to a multiple of 16 keeps vector lanes full.
struct Split {
  std::int64_t n, size, count;
  Split(std::int64_t total, std::int64_t target) : n(total) {
    const std::int64_t pieces = std::max<std::int64_t>(1, (total + target - 1) / target);
    size = std::max<std::int64_t>(1, ((total + pieces - 1) / pieces + 15) / 16 * 16);
    count = std::max<std::int64_t>(1, (total + size - 1) / size);
  }
  std::int64_t begin(std::int64_t i) const { return i * size; }
  std::int64_t length(std::int64_t i) const { return std::min(size, n - i * size); }
};

struct Team {
  bool parallel = false;
  const Poll *poll = nullptr; // asked before every region of a parallel team
  bool training = false;      // layers that couple samples use the batch's own statistics
  std::int64_t first_row = 0; // of the pass within its batch: what is random differs by sample

  template <class Body> void blocks(std::int64_t count, std::int64_t work, Body &&body) const {
    if (parallel) {
      if (poll && *poll)
        (*poll)();
      parallel_blocks(count, work, [&](std::int64_t block, int) { body(block); });
    } else {
      for (std::int64_t block = 0; block < count; ++block)
        body(block);
    }
  }

  // body(begin, end) over constant ranges of an elementwise operation.
  template <class Body> void elementwise(std::int64_t n, Body &&body) const {
    constexpr std::int64_t grain = 8192; // 32 KiB of float: stays in the first-level cache
    blocks((n + grain - 1) / grain, n,
           [&](std::int64_t block) { body(block * grain, std::min(n, (block + 1) * grain)); });
  }
};

} // namespace unstuck::nn
