// Loops over an array (N, C, S) channel by channel: sums per channel in a fixed order, and
// elementwise passes.
//
// A unit is what shares one loop of constants: a channel while its runs of S elements are long,
// else a column of the matrix (N, C·S), of which S belong to one channel.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "unstuck/norm/block_sums.hpp"
#include "unstuck/norm/scratch.hpp"
#include "unstuck/norm/stream.hpp"
#include "unstuck/parallel.hpp"

namespace unstuck::norm {

struct Shape {
  std::int64_t samples, channels, spatial; // N, C, S

  std::int64_t size() const { return samples * channels * spatial; }
  std::int64_t per_channel() const { return samples * spatial; }
};

inline constexpr std::int64_t kShortRun = 16;     // below it a run does not fill the vector lanes
inline constexpr std::int64_t kPiece = 32'768;    // elements of a run, or of a block of runs
inline constexpr std::int64_t kTileColumns = 512; // sums of a tile stay in the first-level cache
inline constexpr std::int64_t kTileRows = 512;
inline constexpr std::int64_t kManyChannels = 8;   // enough for the threads of a small machine
inline constexpr std::int64_t kCached = 1'048'576; // elements: a share of the last-level cache

struct Layout {
  std::int64_t rows, units, run;
  std::int64_t units_per_channel;

  explicit Layout(Shape s)
      : rows(s.samples), units(s.spatial < kShortRun ? s.channels * s.spatial : s.channels),
        run(s.spatial < kShortRun ? 1 : s.spatial),
        units_per_channel(s.spatial < kShortRun ? s.spatial : 1) {}
  bool columns() const { return run == 1; }

  // One thread does all of a channel, which is then still in the cache for the second pass.
  bool by_channel() const { return !columns() && units >= kManyChannels && rows * run <= kCached; }

  std::int64_t channel(std::int64_t unit) const { return unit / units_per_channel; }
  std::int64_t pieces() const { return (run + kPiece - 1) / kPiece; } // of a run
  std::int64_t size() const { return rows * units * run; }

  // Run (or piece of one) t of a unit: where it begins, how long it is.
  std::int64_t offset(std::int64_t unit, std::int64_t t) const {
    return (t / pieces() * units + unit) * run + t % pieces() * kPiece;
  }
  std::int64_t count(std::int64_t t) const { return std::min(kPiece, run - t % pieces() * kPiece); }

  // Runs or pieces of runs that are summed together, and how many such blocks there are.
  std::int64_t per_block() const {
    return columns() ? kTileRows : std::max<std::int64_t>(1, kPiece / std::min(run, kPiece));
  }
  std::int64_t blocks() const {
    return std::max<std::int64_t>(1, (rows * pieces() + per_block() - 1) / per_block());
  }
};

template <std::size_t sums> using Sums = std::array<double, sums>;

template <std::size_t sums> void add(Sums<sums> &total, const Sums<sums> &part) {
  for (std::size_t s = 0; s < sums; ++s)
    total[s] += part[s];
}

// Σ value(offset, unit) over block `block` of one channel's runs, in 16 interleaved lanes.
template <std::size_t sums, class Value>
Sums<sums> run_block(const Layout &l, std::int64_t unit, std::int64_t block, Value &&value) {
  constexpr std::int64_t lanes = 16;
  double lane[sums][lanes] = {};
  const std::int64_t last = std::min(l.rows * l.pieces(), (block + 1) * l.per_block());
  for (std::int64_t t = block * l.per_block(); t < last; ++t) {
    const std::int64_t offset = l.offset(unit, t), count = l.count(t);
    const auto take = [&](std::int64_t i, std::int64_t width) {
      for (std::int64_t j = 0; j < width; ++j) {
        const Sums<sums> v = value(offset + i + j, unit);
        for (std::size_t s = 0; s < sums; ++s)
          lane[s][j] += v[s];
      }
    };
    std::int64_t i = 0;
    for (; i + lanes <= count; i += lanes)
      take(i, lanes);
    take(i, count - i);
  }
  Sums<sums> total{};
  for (std::size_t s = 0; s < sums; ++s)
    for (const double x : lane[s])
      total[s] += x;
  return total;
}

// The same for the columns first … of a matrix.
template <std::size_t sums, class Value>
void column_block(const Layout &l, std::int64_t first, std::int64_t block, Value &&value,
                  Sums<sums> *total) {
  double column[sums][kTileColumns] = {};
  const std::int64_t width = std::min(kTileColumns, l.units - first),
                     last = std::min(l.rows, (block + 1) * l.per_block());
  for (std::int64_t row = block * l.per_block(); row < last; ++row)
    for (std::int64_t j = 0; j < width; ++j) {
      const Sums<sums> v = value(row * l.units + first + j, first + j);
      for (std::size_t s = 0; s < sums; ++s)
        column[s][j] += v[s];
    }
  for (std::int64_t j = 0; j < width; ++j)
    for (std::size_t s = 0; s < sums; ++s)
      total[j][s] = column[s][j];
}

// Where a pass over the runs of a channel fetches: `distance` elements further on in them.
class Further {
public:
  Further(const Layout &l, std::int64_t unit, std::int64_t distance)
      : layout_(l), unit_(unit), count_(std::min(l.run, kPiece)), hop_(distance / count_),
        rest_(distance % count_) {}

  // Begins run (or piece) t. Beyond the last one nothing new is read.
  void begin(std::int64_t t) {
    const std::int64_t last = layout_.rows * layout_.pieces() - 1;
    here_ = layout_.offset(unit_, std::min(t + hop_, last));
    next_ = layout_.offset(unit_, std::min(t + hop_ + 1, last));
  }
  std::int64_t at(std::int64_t i) const {
    return i + rest_ < count_ ? here_ + i + rest_ : next_ + i + rest_ - count_;
  }

private:
  const Layout &layout_;
  std::int64_t unit_, count_, hop_, rest_, here_ = 0, next_ = 0;
};

// Two sums over all elements of one channel, see block_sums.hpp; value_at(offset) is what
// BlockSums::add takes for the run there, `reads` are the arrays that it reads, null for none.
template <class T, class ValueAt, class Suffices>
Sums<2> channel_sum(const Layout &l, std::int64_t unit, const std::array<const T *, 2> &reads,
                    const ValueAt &value_at, const Suffices &suffices) {
  return pair_of_sums<T>(
      [&](const auto &add) {
        Further further(l, unit, ahead<T>(kFarAhead));
        for (std::int64_t t = 0; t < l.rows * l.pieces(); ++t) {
          further.begin(t);
          add(l.count(t), value_at(l.offset(unit, t)),
              [reads, further](std::int64_t i) { fetch(reads, further.at(i), kSumLanes); });
        }
      },
      suffices);
}

// Σ value(offset, unit) of every channel, all blocks side by side; an order of summation that the
// shape fixes.
// The result lies in the thread's scratch memory until its next call.
template <std::size_t sums, class Value>
const Sums<sums> *channel_sums(const Layout &l, Value &&value) {
  const std::int64_t blocks = l.blocks(), tile = l.columns() ? kTileColumns : 1,
                     tiles = (l.units + tile - 1) / tile;
  Sums<sums> *const partial = scratch<struct PartialSums, Sums<sums>>(blocks * l.units);
  parallel_blocks(blocks * tiles, l.size() / 2, [&](std::int64_t id, int) {
    const std::int64_t block = id / tiles, unit = id % tiles * tile;
    Sums<sums> *total = partial + block * l.units + unit;
    if (l.columns())
      column_block<sums>(l, unit, block, value, total);
    else
      *total = run_block<sums>(l, unit, block, value);
  });
  for (std::int64_t block = 1; block < blocks; ++block)
    for (std::int64_t unit = 0; unit < l.units; ++unit)
      add(partial[unit], partial[block * l.units + unit]);
  for (std::int64_t c = 0; l.units_per_channel > 1 && c * l.units_per_channel < l.units; ++c) {
    Sums<sums> total{};
    for (std::int64_t k = 0; k < l.units_per_channel; ++k)
      add(total, partial[c * l.units_per_channel + k]);
    partial[c] = total; // of units that have been read
  }
  return partial;
}

// target[offset] = value(at, offset, constants), see write_run, for every element of one channel,
// the last run first: what the sums read last is still in the nearest cache.
template <class T, class Constants, class Value>
void write_channel(const Layout &l, std::int64_t unit, const Constants &constants,
                   const Target<T> &target, Value &&value) {
  for (std::int64_t row = l.rows - 1; row >= 0; --row) {
    const std::int64_t offset = (row * l.units + unit) * l.run,
                       next = row > 0 ? offset - l.units * l.run : offset;
    write_run(target, offset, l.run, next,
              [=](auto at, std::int64_t i) -> decltype(value(at, i, constants)) {
                return value(at, offset + i, constants);
              });
  }
  stream_fence();
}

// parallel_ranges from the end: what a pass of sums read last is still in the cache.
template <class Body>
void last_ranges_first(std::int64_t n, std::int64_t grain, std::int64_t work, Body &&body) {
  const std::int64_t blocks = (n + grain - 1) / grain;
  parallel_blocks(blocks, work, [&](std::int64_t block, int) {
    const std::int64_t begin = (blocks - 1 - block) * grain;
    body(begin, std::min(n, begin + grain));
  });
}

// The same for every element, a range of runs each; constants_of(channel) gives an array of T.
template <class T, class ConstantsOf, class Value>
void write_runs(const Layout &l, ConstantsOf &&constants_of, const Target<T> &target,
                Value &&value) {
  const std::int64_t pieces = l.pieces();
  const auto range = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      const std::int64_t first = t % pieces * kPiece, run = t / pieces,
                         offset = run * l.run + first, count = std::min(kPiece, l.run - first);
      const auto constants = constants_of(run % l.units);
      write_run(target, offset, count, offset + count,
                [=](auto at, std::int64_t i) -> decltype(value(at, i, constants)) {
                  return value(at, offset + i, constants);
                });
    }
    stream_fence();
  };
  last_ranges_first(l.rows * l.units * pieces, l.per_block(), l.size() / 2, range);
}

// The constants of column `unit`, or of several.
template <std::size_t tables, class How, class T>
auto gather(How how, const std::array<const T *, tables> &table, std::int64_t unit) {
  std::array<decltype(how.load(table[0])), tables> constants;
  for (std::size_t k = 0; k < tables; ++k)
    constants[k] = how.load(table[k] + unit);
  return constants;
}

// The same row by row of a matrix whose columns are the units.
template <std::size_t tables, class T, class ConstantsOf, class Value>
void write_columns(const Layout &l, ConstantsOf &&constants_of, const Target<T> &target,
                   Value &&value) {
  T *const table = scratch<struct ColumnTable, T>(static_cast<std::int64_t>(tables) * l.units);
  std::array<const T *, tables> at; // side by side for the vector lanes
  for (std::size_t k = 0; k < tables; ++k)
    at[k] = table + static_cast<std::int64_t>(k) * l.units;
  for (std::int64_t unit = 0; unit < l.units; ++unit) {
    const std::array<T, tables> constants = constants_of(l.channel(unit));
    for (std::size_t k = 0; k < tables; ++k)
      table[static_cast<std::int64_t>(k) * l.units + unit] = constants[k];
  }
  const std::int64_t grain = std::max<std::int64_t>(1, kPiece / l.units);
  last_ranges_first(l.rows, grain, l.size() / 2, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t offset = row * l.units;
      write_run(target, offset, l.units, offset + l.units,
                [=](auto how, std::int64_t unit) -> decltype(value(how, unit,
                                                                   gather<tables>(how, at, unit))) {
                  return value(how, offset + unit, gather<tables>(how, at, unit));
                });
    }
    stream_fence();
  });
}

template <std::size_t tables, class T, class ConstantsOf, class Value>
void write_elements(const Layout &l, ConstantsOf &&constants_of, const Target<T> &target,
                    Value &&value) {
  if (l.columns())
    write_columns<tables>(l, constants_of, target, value);
  else
    write_runs(l, constants_of, target, value);
}

} // namespace unstuck::norm
