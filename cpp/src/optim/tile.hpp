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
// Elements of a tile: θ, g, two decoded slots and the average in 20 KiB of float.
inline constexpr std::int64_t kTile = 1'024;

static_assert(kRange % kTile == 0 && kTile % kCodeBlock == 0);

struct Storage {
  Format format = Format::theta;
  Rounding rounding = Rounding::stochastic;
  int slots = 0;
  std::array<bool, kMaxSlots> positive{};
};

// Sums of squares of one piece.
struct Sums {
  SquareSum gradient, theta, change, update;
};

template <class T> class Tile {
public:
  Tile(const Storage &storage, const UpdateCall<T> &call) : storage_(storage), call_(call) {}

  // Whether there is more to do than the rule itself, so that tiles must stay small.
  bool staged() const {
    return storage_.format != Format::theta || call_.average || call_.zero || call_.report;
  }

  // Makes the slots of parameters begin … end−1 ready; begin is a multiple of kTile if they are low
  // in bits.
  void load(std::int64_t begin, std::int64_t end) {
    begin_ = begin;
    if (storage_.format == Format::bfloat16) {
      draw(rounding_seed(call_.t), begin, end - begin, random_);
      return;
    }
    for (int k = 0; k < storage_.slots; ++k) {
      const SlotArray &slot = call_.slots[k];
      if (storage_.format == Format::theta) {
        slots_[k] = static_cast<T *>(slot.values) + begin;
        continue;
      }
      slots_[k] = decoded_[k];
      storage_.positive[static_cast<std::size_t>(k)] ? decode<true>(slot, k, begin, end)
                                                     : decode<false>(slot, k, begin, end);
    }
  }

  // The rule on parameters begin … end−1 of the tile; adds to the sums.
  void step(const Loops<T> &loops, const T *scalars, T scale, std::int64_t begin, std::int64_t end,
            Sums *sums) {
    const std::int64_t count = end - begin;
    T *theta = call_.theta + begin;
    const T *gradient = call_.gradient + begin;
    if (sums)
      std::memcpy(before_, theta, static_cast<std::size_t>(count) * sizeof(T));
    run(loops, scalars, scale, begin, count);
    if (!sums)
      return;
    sums->gradient.add(gradient, count);
    sums->theta.add(before_, count);
    sums->change.add_difference(theta, before_, count);
  }

  // Encodes the slots; then the average and the zeroing.
  void store(std::int64_t begin, std::int64_t end) {
    if (storage_.format == Format::int8) {
      prefetch(call_.theta, begin);
      prefetch(call_.gradient, begin);
      storage_.rounding == Rounding::nearest ? encode<Rounding::nearest>(begin, end)
                                             : encode<Rounding::stochastic>(begin, end);
    }
    if (call_.average)
      move_average(begin, end);
    if (call_.zero)
      std::memset(call_.zero + begin, 0, static_cast<std::size_t>(end - begin) * sizeof(T));
  }

  // Σθ² and Σu² of parameters begin … end−1, u the quantity of the rule's trust ratio.
  Sums measure(const Loops<T> &loops, const T *scalars, T scale, std::int64_t begin,
               std::int64_t end) {
    Sums sums;
    for (std::int64_t at = begin; at < end; at += kTile) {
      const std::int64_t count = std::min(kTile, end - at);
      T *slots[kMaxSlots] = {};
      for (int k = 0; k < storage_.slots; ++k)
        slots[k] = static_cast<T *>(call_.slots[k].values) + at;
      loops.measure(scalars, scale, count, call_.theta + at, call_.gradient + at, slots, before_);
      sums.theta.add(call_.theta + at, count);
      sums.update.add(before_, count);
    }
    return sums;
  }

private:
  // The rule on `count` parameters from `begin` on, on slots as they are stored or decoded.
  void run(const Loops<T> &loops, const T *scalars, T scale, std::int64_t begin,
           std::int64_t count) {
    T *theta = call_.theta + begin;
    const T *gradient = call_.gradient + begin;
    if (storage_.format == Format::bfloat16) {
      std::uint16_t *halves[kMaxSlots] = {};
      for (int k = 0; k < storage_.slots; ++k)
        halves[k] = static_cast<std::uint16_t *>(call_.slots[k].values) + begin;
      loops.half_step(scalars, scale, count, theta, gradient, halves, random_ + (begin - begin_),
                      storage_.rounding);
      return;
    }
    T *slots[kMaxSlots] = {};
    for (int k = 0; k < storage_.slots; ++k)
      slots[k] = slots_[k] + (begin - begin_);
    loops.step(scalars, scale, count, theta, gradient, slots);
  }

  // Asks for the next tile, which memory can bring while this one is encoded.
  template <class V> static void prefetch(const V *vector, std::int64_t begin) {
    const char *next = reinterpret_cast<const char *>(vector + begin + kTile);
    for (std::size_t at = 0; at < kTile * sizeof(V); at += 64)
      __builtin_prefetch(next + at, 0, 2);
  }

  template <bool positive>
  void decode(const SlotArray &slot, int k, std::int64_t begin, std::int64_t end) {
    const auto *bytes = static_cast<const std::uint8_t *>(slot.values);
    for (std::int64_t at = begin; at < end; at += kCodeBlock)
      decode_block<positive>(
          reinterpret_cast<const Bits *>(bytes + at), slot.scales[at / kCodeBlock],
          code_bytes(std::min(kCodeBlock, end - at)), decoded_[k] + (at - begin));
  }

  template <Rounding rounding> void encode(std::int64_t begin, std::int64_t end) {
    for (int k = 0; k < storage_.slots; ++k) {
      if (rounding == Rounding::stochastic && k % 2 == 0) // two vectors share 32 random bits
        draw(rounding_seed(call_.t) + static_cast<Bits>(k), begin, kTile, random_);
      const SlotArray &slot = call_.slots[k];
      k % 2 == 0 ? encode_slot<rounding, Half::upper>(slot, k, begin, end)
                 : encode_slot<rounding, Half::lower>(slot, k, begin, end);
    }
  }

  template <Rounding rounding, Half half>
  void encode_slot(const SlotArray &slot, int k, std::int64_t begin, std::int64_t end) {
    if (storage_.positive[static_cast<std::size_t>(k)])
      encode_codes<true, rounding, half>(slot, k, begin, end);
    else
      encode_codes<false, rounding, half>(slot, k, begin, end);
  }

  template <bool positive, Rounding rounding, Half half>
  void encode_codes(const SlotArray &slot, int k, std::int64_t begin, std::int64_t end) {
    auto *bytes = static_cast<std::uint8_t *>(slot.values);
    const std::int64_t padded = begin + code_bytes(end - begin);
    std::fill(decoded_[k] + (end - begin), decoded_[k] + (padded - begin), T(0));
    for (std::int64_t at = begin; at < end; at += kCodeBlock)
      slot.scales[at / kCodeBlock] = encode_block<positive, rounding, half>(
          decoded_[k] + (at - begin), std::min(kCodeBlock, padded - at), random_ + (at - begin),
          reinterpret_cast<Bits *>(bytes + at));
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
    decode_bfloat16(codes, count, before_);
    for (std::int64_t i = 0; i < count; ++i)
      before_[i] += share * (theta[i] - before_[i]);
    draw(rounding_seed(call_.t) + Bits{kMaxSlots}, begin, count, random_);
    encode_bfloat16(before_, count, random_, Rounding::stochastic, codes);
  }

  const Storage &storage_;
  const UpdateCall<T> &call_;
  std::int64_t begin_ = 0;
  T *slots_[kMaxSlots] = {};
  alignas(64) T before_[kTile];
  alignas(64) Bits random_[kTile];
  alignas(64) T decoded_[kMaxSlots][kTile];
};

} // namespace unstuck::optim
