// How a pass over many samples is cut into work: by rows (few parameters) or by output tiles
// (many).
#pragma once
#include <cstdint>

namespace unstuck::nn {

// What a forward pass over one sample takes: multiply-adds, and numbers that it writes; and the
// parameters, once.
struct PassCost {
  std::int64_t parameters = 0, work = 0, width = 0;
};

// By rows: `groups` consecutive runs of `group_rows` samples, each with its own gradient, in one
// parallel region; the groups' gradients are added in order. By tiles: one group, chunks of rows
// one after the other, each matrix product spread over all threads. Either way `chunk_rows` samples
// are in work at once. Everything follows from the shapes alone, never from the number of threads.
struct Plan {
  std::int64_t rows = 0;
  bool tiles = false;
  std::int64_t groups = 1, group_rows = 0, chunk_rows = 0;

  Plan() = default;
  // coupled: the rows are one function and stay in one chunk.
  Plan(std::int64_t rows, PassCost cost, bool coupled = false);

  std::int64_t chunks_per_group() const { return (group_rows + chunk_rows - 1) / chunk_rows; }

  // Chunks of every group to do between two polls, each row costing `work` multiply-adds.
  std::int64_t chunks_per_poll(std::int64_t work) const;

  // Rows [begin, begin + count) of chunk c of group g; count may be 0 at the ragged end.
  struct Range {
    std::int64_t begin, count;
  };
  Range range(std::int64_t group, std::int64_t chunk) const;
};

} // namespace unstuck::nn
