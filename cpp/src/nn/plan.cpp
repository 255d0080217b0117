// The choice of schedule and of group sizes.
#include "unstuck/nn/plan.hpp"

#include <algorithm>
#include <bit>

namespace unstuck::nn {
namespace {

// Up to this size a gradient per group (at most 16 × 512 KiB) is cheaper than a region per layer.
constexpr std::int64_t kFewParameters = 131'072;
constexpr std::int64_t kTileRows = 1024; // rows of a tile pass: 4 output tiles deep
constexpr std::int64_t kGroupRows =
    128; // rows of a group's chunk: its activations stay in the second-level cache
constexpr std::int64_t kGroupNumbers = 1 << 18; // of a group's chunk, where samples are large
constexpr std::int64_t kTileNumbers = 1 << 24;  // of a tile pass: 64 MiB of float
constexpr std::int64_t kGroupWork = 1 << 18;    // multiply-adds that are worth a group
constexpr std::int64_t kParameterWork = 64;     // what a parameter costs a group besides
constexpr std::int64_t kPollWork = 500'000'000; // multiply-adds: some 15 ms on one core

std::int64_t group_count(std::int64_t rows, PassCost cost) {
  // below 32 rows of a perceptron a region costs more than it brings
  const std::int64_t by_rows = rows < 32     ? 1
                               : rows < 96   ? 2
                               : rows < 512  ? 4
                               : rows < 2048 ? 8
                                             : 16;
  if (cost.work <= 4 * cost.parameters)
    return by_rows;
  // parameters used at many positions: a sample is more work than its parameters tell
  const std::int64_t worth = std::max(kGroupWork, kParameterWork * cost.parameters);
  const std::int64_t by_work = std::clamp<std::int64_t>(rows * cost.work / worth, by_rows, 16);
  return std::min(rows, static_cast<std::int64_t>(
                            std::bit_ceil(static_cast<std::uint64_t>(by_work)))); // equal shares
}

// Most rows whose numbers stay below `numbers`.
std::int64_t fitting(std::int64_t rows, std::int64_t numbers, PassCost cost) {
  return std::clamp<std::int64_t>(numbers / std::max<std::int64_t>(1, cost.width), 1, rows);
}

} // namespace

Plan::Plan(std::int64_t row_count, PassCost cost, bool coupled)
    : rows(row_count), tiles(coupled || cost.parameters > kFewParameters) {
  groups = tiles ? 1 : std::max<std::int64_t>(1, group_count(rows, cost));
  group_rows = std::max<std::int64_t>(1, (rows + groups - 1) / groups);
  // equal chunks: no ragged remainder of a few rows
  const std::int64_t limit = coupled ? std::max<std::int64_t>(1, rows)
                             : tiles ? fitting(kTileRows, kTileNumbers, cost)
                                     : fitting(kGroupRows, kGroupNumbers, cost),
                     pieces = (group_rows + limit - 1) / limit;
  chunk_rows = std::max<std::int64_t>(1, (group_rows + pieces - 1) / pieces);
}

std::int64_t Plan::chunks_per_poll(std::int64_t work) const {
  return std::max<std::int64_t>(1,
                                kPollWork / std::max<std::int64_t>(1, groups * chunk_rows * work));
}

Plan::Range Plan::range(std::int64_t group, std::int64_t chunk) const {
  const std::int64_t group_end = std::min(rows, (group + 1) * group_rows);
  const std::int64_t begin = std::min(group_end, group * group_rows + chunk * chunk_rows);
  return {begin, std::min(chunk_rows, group_end - begin)};
}

} // namespace unstuck::nn
