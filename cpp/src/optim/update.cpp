// The pass over memory: ranges, tiles, blocks, and what runs over each.
#include "unstuck/optim/update.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "loops.hpp"
#include "squares.hpp"
#include "tile.hpp"
#include "unstuck/denormals.hpp"
#include "unstuck/error.hpp"
#include "unstuck/parallel.hpp"

namespace unstuck {
namespace {

using optim::Format;
using optim::kRange;
using optim::kTile;

// Blocks up to this size are measured and updated by one thread while they are in its cache.
constexpr std::int64_t kResident = 1 << 16;
// Nanoseconds per parameter when everything is in cache, from 0.1 (SGD) to 0.5 (Adam, float32).
constexpr double kWork = 0.5;

std::int64_t work_of(std::int64_t parameters) {
  return static_cast<std::int64_t>(kWork * static_cast<double>(parameters));
}

std::int64_t chunks_of(std::int64_t size) { return (size + kRange - 1) / kRange; }

void require_cover(const std::vector<BlockSetting> &blocks, std::int64_t n) {
  std::int64_t end = 0;
  for (const BlockSetting &block : blocks) {
    require(block.begin == end && block.end >= end,
            "`blocks` must cover the parameters in order: after ", end, " comes ", block.begin,
            " … ", block.end);
    end = block.end;
  }
  require(end == n, "`blocks` must cover ", n, " parameters, got ", end);
}

// Norms from sums of squares that may have overflowed.
template <class T> double scaled_norm(std::int64_t n, const T *x) {
  double largest = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double value = std::abs(static_cast<double>(x[i]));
    if (!(value <= std::numeric_limits<double>::max()))
      return value; // NaN or infinity
    largest = std::max(largest, value);
  }
  double sum = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double value = static_cast<double>(x[i]) / largest;
    sum += value * value;
  }
  return largest * std::sqrt(sum);
}

template <class T> double norm_of(std::int64_t n, const T *x, double *partial) {
  // backwards, because the update starts with what the cache then still holds
  const std::int64_t chunks = chunks_of(n);
  parallel_blocks(chunks, n / 8, [&](std::int64_t k, int) {
    const std::int64_t begin = (chunks - 1 - k) * kRange;
    optim::SquareSum sum;
    sum.add(x + begin, std::min(kRange, n - begin));
    partial[begin / kRange] = sum.value();
  });
  double sum = 0.0;
  for (std::int64_t k = 0; k < chunks; ++k)
    sum += partial[k];
  return std::isfinite(sum) ? std::sqrt(sum) : scaled_norm(n, x);
}

} // namespace

template <class T> double vector_norm(std::int64_t n, const T *x) {
  std::vector<double> partial(static_cast<std::size_t>(chunks_of(n)));
  return norm_of(n, x, partial.data());
}

template double vector_norm(std::int64_t, const float *);
template double vector_norm(std::int64_t, const double *);

template <class T> struct Update<T>::Plan {
  // Parameters with the same scalars.
  struct Segment {
    std::int64_t begin, end;
    int group, block;
  };
  // Consecutive blocks that one thread takes.
  struct Item {
    std::size_t first, last;
  };
  RuleId rule;
  std::int64_t n;
  std::vector<BlockSetting> blocks;
  optim::Storage storage;
  optim::Loops<T> loops;
  std::vector<BlockSetting> groups; // one block with each pair of factors
  std::vector<optim::Scalars<T>> scalars;
  std::vector<Segment> single, merged; // a segment a block; as few as possible
  std::vector<Item> items;             // of resident blocks; with a trust ratio only
  std::vector<std::int64_t> chunk;     // number of chunks before each block
  std::vector<optim::Sums> sums;       // a place for every piece of a range or a block
  std::vector<double> partial;         // the same for the gradient's norm

  void add_segments();
  void add_items();
  std::vector<T> directions; // u of a resident block, for each thread
  T shrink = T(1);           // multiplies the gradient before everything else

  double clip(const UpdateCall<T> &call, UpdateResult &result);
  T split(double factor);
  void flat(const UpdateCall<T> &call, T scale);
  void layerwise(const UpdateCall<T> &call, T scale);
  void measure(const UpdateCall<T> &call, T scale, std::size_t block, std::int64_t chunk,
               T *direction);
  double trust(const UpdateCall<T> &call, std::size_t block) const;
  void apply(const UpdateCall<T> &call, T scale, std::size_t block, std::int64_t chunk, double q,
             const T *direction);
  void resident(const UpdateCall<T> &call, T scale, const Item &item, T *direction);
  void report(const UpdateCall<T> &call) const;
};

template <class T> void Update<T>::Plan::add_segments() {
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const BlockSetting &block = blocks[b];
    std::size_t g = 0;
    while (g < groups.size() && (groups[g].rate != block.rate || groups[g].decay != block.decay))
      ++g;
    if (g == groups.size())
      groups.push_back(block);
    const Segment segment{block.begin, block.end, static_cast<int>(g), static_cast<int>(b)};
    single.push_back(segment);
    if (!merged.empty() && merged.back().group == segment.group)
      merged.back().end = segment.end;
    else
      merged.push_back(segment);
  }
  scalars.resize(groups.size());
}

template <class T> void Update<T>::Plan::add_items() {
  std::int64_t before = 0, size = kResident;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const std::int64_t length = blocks[b].end - blocks[b].begin;
    chunk.push_back(before);
    before += chunks_of(length);
    if (length > kResident) {
      size = kResident; // the next small block starts an item
    } else if (size + length <= kResident) {
      items.back().last = b + 1;
      size += length;
    } else {
      items.push_back({b, b + 1});
      size = length;
    }
  }
}

// The factor of the gradient, or `done` false if it may not be used.
template <class T> double Update<T>::Plan::clip(const UpdateCall<T> &call, UpdateResult &result) {
  if (call.clip_norm <= 0.0 && call.non_finite == NonFinite::propagate)
    return call.scale;
  const double norm =
      call.gradient_norm < 0.0 ? norm_of(n, call.gradient, partial.data()) : call.gradient_norm;
  result.gradient = norm * std::abs(call.scale);
  const bool clips = call.clip_norm > 0.0 && result.gradient > call.clip_norm;
  const double used = clips ? call.clip_norm : result.gradient;
  result.done = call.non_finite == NonFinite::propagate ||
                (std::isfinite(norm) && used <= std::numeric_limits<T>::max());
  return clips ? std::copysign(call.clip_norm / norm, call.scale) : call.scale;
}

// The factor as two: one that T holds and, where it would underflow, a power of 2 before it.
template <class T> T Update<T>::Plan::split(double factor) {
  constexpr int digits = std::numeric_limits<T>::max_exponent - 28;
  const bool tiny = factor != 0.0 && std::abs(factor) < std::numeric_limits<T>::min();
  shrink = tiny ? static_cast<T>(std::ldexp(1.0, -digits)) : T(1);
  return static_cast<T>(tiny ? std::ldexp(factor, digits) : factor);
}

template <class T> void Update<T>::Plan::flat(const UpdateCall<T> &call, T scale) {
  const std::vector<Segment> &segments = call.report ? single : merged;
  parallel_ranges(n, kRange, work_of(n), [&](std::int64_t begin, std::int64_t end) {
    const FlushDenormals flush;
    optim::Tile<T> tile(storage, call, shrink);
    auto segment = std::upper_bound(segments.begin(), segments.end(), begin,
                                    [](std::int64_t at, const Segment &s) { return at < s.end; });
    const std::int64_t length = tile.staged() ? kTile : kRange;
    for (std::int64_t at = begin; at < end; at += length) {
      const std::int64_t stop = std::min(at + length, end);
      for (std::int64_t from = at; from < stop;) {
        while (segment->end <= from)
          ++segment;
        const std::int64_t to = std::min(stop, segment->end);
        optim::Sums *piece = call.report
                                 ? &sums[static_cast<std::size_t>(begin / kRange + segment->block)]
                                 : nullptr;
        if (piece && (from == begin || from == segment->begin))
          *piece = {};
        tile.step(loops, scalars[static_cast<std::size_t>(segment->group)].data(), scale, from, to,
                  piece);
        from = to;
      }
      tile.finish(at, stop);
    }
  });
}

template <class T>
void Update<T>::Plan::measure(const UpdateCall<T> &call, T scale, std::size_t block,
                              std::int64_t part, T *direction) {
  const BlockSetting &b = blocks[block];
  const std::int64_t begin = b.begin + part * kRange, end = std::min(begin + kRange, b.end);
  const auto &c = scalars[static_cast<std::size_t>(single[block].group)];
  optim::Tile<T> tile(storage, call, shrink);
  sums[static_cast<std::size_t>(chunk[block] + part)] = tile.measure(
      loops, c.data(), scale, begin, end, direction ? direction + (begin - b.begin) : nullptr);
}

template <class T>
double Update<T>::Plan::trust(const UpdateCall<T> &call, std::size_t block) const {
  const std::int64_t parts = chunks_of(blocks[block].end - blocks[block].begin);
  double theta = 0.0, update = 0.0;
  for (std::int64_t part = 0; part < parts; ++part) {
    const optim::Sums &sum = sums[static_cast<std::size_t>(chunk[block] + part)];
    theta += sum.theta.value();
    update += sum.update.value();
  }
  return optim::trust_ratio(rule, call.hyper, call.lr, blocks[block], std::sqrt(theta),
                            std::sqrt(update));
}

template <class T>
void Update<T>::Plan::apply(const UpdateCall<T> &call, T scale, std::size_t block,
                            std::int64_t part, double q, const T *direction) {
  const BlockSetting &b = blocks[block];
  const std::int64_t begin = b.begin + part * kRange, end = std::min(begin + kRange, b.end);
  optim::Scalars<T> c = scalars[static_cast<std::size_t>(single[block].group)];
  c[0] = static_cast<T>(q);
  optim::Tile<T> tile(storage, call, shrink);
  optim::Sums *piece = nullptr;
  if (call.report) {
    piece = &sums[static_cast<std::size_t>(chunk[block] + part)];
    *piece = {};
    call.report[block].trust = q;
  }
  const std::int64_t length = tile.staged() ? kTile : kRange;
  for (std::int64_t at = begin; at < end; at += length) {
    const std::int64_t stop = std::min(at + length, end);
    tile.step(loops, c.data(), scale, at, stop, piece,
              direction ? direction + (at - b.begin) : nullptr);
    tile.finish(at, stop);
  }
}

template <class T> void Update<T>::Plan::layerwise(const UpdateCall<T> &call, T scale) {
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const std::int64_t length = blocks[b].end - blocks[b].begin, parts = chunks_of(length);
    if (length <= kResident)
      continue;
    parallel_blocks(parts, work_of(length), [&](std::int64_t part, int) {
      const FlushDenormals flush;
      measure(call, scale, b, part, nullptr);
    });
    const double q = trust(call, b);
    // backwards, because the end of the block is what the cache still holds
    parallel_blocks(parts, work_of(length), [&](std::int64_t part, int) {
      const FlushDenormals flush;
      apply(call, scale, b, parts - 1 - part, q, nullptr);
    });
  }
  const auto count = static_cast<std::int64_t>(items.size());
  const auto rooms = static_cast<std::int64_t>(directions.size()) / kResident;
  parallel_blocks(
      count, work_of(2 * n),
      [&](std::int64_t k, int slot) {
        const FlushDenormals flush;
        T *direction = rooms > 0 ? directions.data() + slot * kResident : nullptr;
        resident(call, scale, items[static_cast<std::size_t>(k)], direction);
      },
      rooms > 0 ? rooms : 4096);
}

// Small blocks, each measured and updated while it is in the cache of this thread.
template <class T>
void Update<T>::Plan::resident(const UpdateCall<T> &call, T scale, const Item &item, T *direction) {
  for (std::size_t b = item.first; b < item.last; ++b) {
    const std::int64_t parts = chunks_of(blocks[b].end - blocks[b].begin);
    for (std::int64_t part = 0; part < parts; ++part)
      measure(call, scale, b, part, direction);
    const double q = trust(call, b);
    for (std::int64_t part = 0; part < parts; ++part)
      apply(call, scale, b, part, q, direction);
  }
}

template <class T> void Update<T>::Plan::report(const UpdateCall<T> &call) const {
  const bool by_block = loops.measure != nullptr;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const auto [begin, end] = std::pair(blocks[b].begin, blocks[b].end);
    std::int64_t first = by_block ? chunk[b] : begin / kRange + static_cast<std::int64_t>(b);
    const std::int64_t pieces = end == begin ? 0
                                : by_block   ? chunks_of(end - begin)
                                             : (end - 1) / kRange - begin / kRange + 1;
    double gradient = 0.0, theta = 0.0, change = 0.0;
    for (std::int64_t k = 0; k < pieces; ++k) {
      const optim::Sums &sum = sums[static_cast<std::size_t>(first + k)];
      gradient += sum.gradient.value();
      theta += sum.theta.value();
      change += sum.change.value();
    }
    BlockReport &row = call.report[b];
    row.gradient = std::sqrt(gradient);
    row.theta = std::sqrt(theta);
    row.change = std::sqrt(change);
    if (!by_block)
      row.trust = 1.0;
  }
}

template <class T>
Update<T>::Update(RuleId rule, const double *hyper, std::int64_t n,
                  std::vector<BlockSetting> blocks, Format format, optim::Rounding rounding)
    : plan_(std::make_unique<Plan>()) {
  if (blocks.empty())
    blocks.push_back({0, n});
  require_cover(blocks, n);
  require(format == Format::theta || !is_layerwise(rule),
          "`state` of a rule with trust ratios must be that of theta");
  Plan &plan = *plan_;
  plan.rule = rule;
  plan.n = n;
  plan.blocks = std::move(blocks);
  plan.storage.format = format;
  plan.storage.n = n;
  plan.storage.slots = static_cast<int>(slot_infos(rule, hyper).size());
  plan.loops = optim::find_loops<T>(rule, optim::rule_variant(rule, hyper), {format, rounding});
  plan.add_segments();
  if (plan.loops.measure)
    plan.add_items();
  if (plan.loops.advance)
    plan.directions.resize(static_cast<std::size_t>(
        kResident * std::min<std::int64_t>(thread_count(), std::ssize(plan.items))));
  const auto pieces = static_cast<std::size_t>(chunks_of(n)) + plan.blocks.size();
  plan.sums.resize(pieces);
  plan.partial.resize(pieces);
}

template <class T> Update<T>::~Update() = default;

template <class T> std::int64_t Update<T>::size() const { return plan_->n; }
template <class T> std::size_t Update<T>::blocks() const { return plan_->blocks.size(); }
template <class T> RuleId Update<T>::rule() const { return plan_->rule; }

template <class T> UpdateResult Update<T>::step(const UpdateCall<T> &call) {
  UpdateResult result;
  Plan &plan = *plan_;
  const T scale = plan.split(plan.clip(call, result));
  if (!result.done)
    return result;
  for (std::size_t g = 0; g < plan.groups.size(); ++g)
    plan.scalars[g] = optim::prepare<T>(plan.rule, call.hyper, call.lr, call.t, plan.groups[g]);
  if (plan.loops.measure)
    plan.layerwise(call, scale);
  else
    plan.flat(call, scale);
  if (call.report)
    plan.report(call);
  return result;
}

template class Update<float>;
template class Update<double>;

} // namespace unstuck
