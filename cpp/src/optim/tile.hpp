// A tile of a pass: what a range does to the piece of memory that is in the first-level cache.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "loops.hpp"
#include "squares.hpp"

namespace unstuck::optim {

// Elements that one thread takes at a time: long enough for the prefetcher, short enough to share
// small networks.
inline constexpr std::int64_t kRange = 8'192;
// Elements of a tile: θ, g, two slots and the average in 10 KiB of float; short, so that the
// prefetcher sees all of them as one stream.
inline constexpr std::int64_t kTile = 512;

static_assert(kRange % kTile == 0 && kTile % kCodeBlock == 0);

struct Storage {
  Format format = Format::theta;
  std::int64_t n = 0;
  int slots = 0;
};

// Sums of squares of one piece.
struct Sums {
  SquareSum gradient, theta, change, update;
};

template <class T> class Tile {
public:
  // shrink: multiplies the gradient before everything else, for factors that underflow.
  Tile(const Storage &storage, const UpdateCall<T> &call, T shrink)
      : storage_(storage), call_(call), shrink_(shrink) {}

  // Whether there is more to do than the rule itself, so that tiles must stay small.
  bool staged() const {
    return storage_.format != Format::theta || call_.average || call_.zero || call_.report ||
           shrink_ != T(1);
  }

  // The rule on parameters begin … end−1 of the tile; adds to the sums. direction: u if it is kept.
  void step(const Loops<T> &loops, const T *scalars, T scale, std::int64_t begin, std::int64_t end,
            Sums *sums, const T *direction = nullptr) {
    const std::int64_t count = end - begin;
    T *theta = call_.theta + begin;
    if (sums)
      std::memcpy(before_, theta, static_cast<std::size_t>(count) * sizeof(T));
    if (direction)
      loops.advance(scalars, count, theta, direction);
    else
      run(loops, scalars, scale, begin, count);
    if (!sums)
      return;
    sums->gradient.add(call_.gradient + begin, count);
    sums->theta.add(before_, count);
    sums->change.add_difference(theta, before_, count);
  }

  // The average and the zeroing.
  void finish(std::int64_t begin, std::int64_t end) {
    if (call_.average)
      move_average(begin, end);
    if (call_.zero)
      std::memset(call_.zero + begin, 0, static_cast<std::size_t>(end - begin) * sizeof(T));
  }

  // Σθ² and Σu² of parameters begin … end−1, u the quantity of the rule's trust ratio, which is
  // kept in `direction` if there is one and the rule can go on from it.
  Sums measure(const Loops<T> &loops, const T *scalars, T scale, std::int64_t begin,
               std::int64_t end, T *direction) {
    Sums sums;
    for (std::int64_t at = begin; at < end; at += kTile) {
      const std::int64_t count = std::min(kTile, end - at);
      T *slots[kMaxSlots] = {};
      for (int k = 0; k < storage_.slots; ++k)
        slots[k] = static_cast<T *>(call_.slots[k].values) + at;
      T *u = direction && loops.advance ? direction + (at - begin) : before_;
      loops.measure(scalars, scale, count, call_.theta + at, gradient(at, count), slots, u);
      sums.theta.add(call_.theta + at, count);
      sums.update.add(u, count);
    }
    return sums;
  }

private:
  // The rule on `count` parameters from `begin` on.
  void run(const Loops<T> &loops, const T *scalars, T scale, std::int64_t begin,
           std::int64_t count) {
    if (storage_.format != Format::theta) {
      for (std::int64_t at = begin; at < begin + count;) {
        const std::int64_t stop =
            std::min(at / kCodeBlock * kCodeBlock + kCodeBlock, begin + count);
        run_codes(loops, scalars, scale, at, stop);
        at = stop;
      }
      return;
    }
    T *slots[kMaxSlots] = {};
    for (int k = 0; k < storage_.slots; ++k)
      slots[k] = static_cast<T *>(call_.slots[k].values) + begin;
    loops.step(scalars, scale, count, call_.theta + begin, gradient(begin, count), slots);
  }

  // A part of a block of codes: its first part decodes the block, its last one encodes it.
  void run_codes(const Loops<T> &loops, const T *scalars, T scale, std::int64_t begin,
                 std::int64_t end) {
    const std::int64_t block = begin / kCodeBlock * kCodeBlock;
    const std::int64_t stop = std::min(block + kCodeBlock, storage_.n);
    const bool half = storage_.format == Format::bfloat16;
    SlotCodes codes[kMaxSlots] = {};
    T *all[kMaxSlots] = {}, *part[kMaxSlots] = {};
    for (int k = 0; k < storage_.slots; ++k) {
      const SlotArray &slot = call_.slots[k];
      auto *bytes = static_cast<std::uint8_t *>(slot.values) + (half ? 2 * block : block);
      codes[k].words = reinterpret_cast<Bits *>(bytes);
      codes[k].scale = half ? nullptr : slot.scales + block / kCodeBlock;
      all[k] = decoded_[k];
      part[k] = decoded_[k] + (begin - block);
    }
    T *theta = call_.theta + begin;
    const T *own = gradient(begin, end - begin);
    const Bits place = rounding_place(seed_, block);
    if (loops.coded.whole && end - begin == kCodeBlock)
      return loops.coded.whole(scalars, scale, theta, own, place, codes, all);
    const std::int64_t count = padded(storage_.format, stop - block);
    if (begin == block)
      loops.coded.decode(codes, count, all);
    loops.step(scalars, scale, end - begin, theta, own, part);
    if (end < stop)
      return;
    for (int k = 0; k < storage_.slots; ++k)
      std::fill(all[k] + (stop - block), all[k] + count, T(0));
    loops.coded.encode(all, count, place, codes);
  }

  // The gradient of `count` ≤ kTile parameters, or any number where it is not shrunk.
  const T *gradient(std::int64_t begin, std::int64_t count) {
    const T *own = call_.gradient + begin;
    if (shrink_ == T(1))
      return own;
    for (std::int64_t i = 0; i < count; ++i)
      shrunk_[i] = own[i] * shrink_;
    return shrunk_;
  }

  // a ← a + (1 − d)·(θ − a)
  void move_average(std::int64_t begin, std::int64_t end) {
    const auto share = static_cast<T>(1.0 - call_.average_decay);
    const std::int64_t count = end - begin;
    const T *theta = call_.theta + begin;
    if (call_.average_format == Format::theta) {
      T *average = static_cast<T *>(call_.average) + begin;
      for (std::int64_t i = 0; i < count; ++i)
        average[i] += share * (theta[i] - average[i]);
      return;
    }
    auto *codes = static_cast<std::uint16_t *>(call_.average) + begin;
    const Bits first = rounding_place(seed_ + Bits{kMaxSlots}, begin);
    const int length = static_cast<int>(count);
    for (int i = 0; i < length; ++i) {
      const auto old = static_cast<T>(from_bfloat16(codes[i]));
      const auto mean = static_cast<float>(old + share * (theta[i] - old));
      const Bits random = random_bits(first + static_cast<Bits>(i) * kGolden);
      codes[i] = to_bfloat16<Rounding::stochastic>(mean, random);
    }
  }

  const Storage &storage_;
  const UpdateCall<T> &call_;
  const T shrink_;
  const Bits seed_ = rounding_seed(call_.t);
  alignas(64) T before_[kTile];
  alignas(64) T shrunk_[kTile];
  alignas(64) T decoded_[kMaxSlots][kCodeBlock];
};

} // namespace unstuck::optim
