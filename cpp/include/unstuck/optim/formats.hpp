// Formats of state vectors: the dtype of θ, bfloat16, or 8-bit codes with a scale for each 256.
//
// A code stands for f(k) − f(0) times the scale, f(k) = 2^⌊·⌋·(1 + ·/8) the floating-point grid
// with three bits of mantissa whose k-th point from 1 = f(highest) downwards it is: logarithmic,
// linear towards 0, and 0 is exact. Decoding is a shift and a subtraction; adding f(0) and rounding
// a float's upper bits gives the nearest code. Positive vectors have 255 codes above 0, from 2^-35
// on; signed ones 127 from 2^-19 on and a sign bit. A NaN or infinity makes its block of 256 NaN.
//
// Codes lie in groups of 32, eight words of four: element 8b + j of a group is byte b of word j, so
// that eight lanes decode without a shuffle. The last group is padded.
//
// Rounding is to the nearest value, or stochastic: up with a probability that makes the mean exact,
// from a hash of (seed, index), so that it depends neither on threads nor on the order of work.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>

namespace unstuck::optim {

enum class Format : int { theta, bfloat16, int8 };
enum class Rounding : int { nearest, stochastic };

inline constexpr std::int64_t kCodeBlock = 256, kCodeGroup = 32;

using Bits = std::uint32_t;
inline constexpr Bits kOne = 0x3F800000u, kMagnitude = 0x7FFFFFFFu, kInfinity = 0x7F800000u,
                      kSign = 0x80000000u;

// 32 well-mixed bits. Source: Ellis, "lowbias32" (public domain).
inline Bits mix(Bits x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

// A seed for each update.
inline Bits rounding_seed(std::int64_t t) {
  const auto update = static_cast<std::uint64_t>(t);
  return mix(static_cast<Bits>(update) + mix(static_cast<Bits>(update >> 32) + 0x9e3779b9u));
}

// Random bits of elements index … index + count − 1; the low 32 bits of an index count. One round
// of mixing on a Weyl sequence: plenty for rounding, and half the cost of `mix`.
inline void draw(Bits seed, std::int64_t index, std::int64_t count, Bits *random) {
  constexpr Bits golden = 0x9e3779b9u;
  const Bits first = seed + static_cast<Bits>(index) * golden;
  for (std::int64_t i = 0; i < count; ++i) {
    Bits x = first + static_cast<Bits>(i) * golden;
    x ^= x >> 16;
    x *= 0x85ebca6bu;
    random[i] = x ^ (x >> 15);
  }
}

// Which 16 of the 32 random bits a vector uses.
enum class Half { upper, lower };
template <Half half> inline Bits upper_bits(Bits random) {
  return half == Half::upper ? random : random << 16;
}

inline std::int64_t code_bytes(std::int64_t n) {
  return (n + kCodeGroup - 1) / kCodeGroup * kCodeGroup;
}

inline float from_bfloat16(std::uint16_t code) { return std::bit_cast<float>(Bits{code} << 16); }

// random: its upper 16 bits are used. nearest: all ones to round to the nearest instead, ties to
// even.
inline std::uint16_t to_bfloat16(float value, Bits random, Bits nearest) {
  const Bits bits = std::bit_cast<Bits>(value);
  const Bits even = 0x7FFFu + ((bits >> 16) & 1u);
  const Bits up = (even & nearest) | ((random >> 16) & ~nearest);
  const bool finite = (bits & kMagnitude) < kInfinity;
  const Bits quiet = (bits & kMagnitude) > kInfinity ? 0x400000u : 0u; // a NaN stays one
  return static_cast<std::uint16_t>((finite ? bits + up : bits | quiet) >> 16);
}

// Random bits of a third and fourth vector.
inline Bits more_bits(Bits random) { return mix(random ^ 0x9e3779b9u); }

template <class T>
inline void decode_bfloat16(const std::uint16_t *codes, std::int64_t count, T *values) {
  for (std::int64_t i = 0; i < count; ++i)
    values[i] = static_cast<T>(from_bfloat16(codes[i]));
}

template <class T>
inline void encode_bfloat16(const T *values, std::int64_t count, const Bits *random,
                            Rounding rounding, std::uint16_t *codes) {
  const Bits nearest = rounding == Rounding::nearest ? ~Bits{0} : Bits{0};
  for (std::int64_t i = 0; i < count; ++i)
    codes[i] = to_bfloat16(static_cast<float>(values[i]), random[i], nearest);
}

template <bool positive> struct Code {
  static constexpr Bits highest = positive ? 255 : 127;
  static constexpr Bits offset = (kOne >> 20) - highest; // f(k) has k + offset as its upper 12 bits
  static constexpr float zero = std::bit_cast<float>(offset << 20); // f(0)

  // In units of the scale; `code` may have higher bits that do not belong to it.
  static float decode(Bits code) {
    const float magnitude = std::bit_cast<float>(((code & highest) + offset) << 20) - zero;
    return positive ? magnitude
                    : std::bit_cast<float>(std::bit_cast<Bits>(magnitude) | ((code << 24) & kSign));
  }

  // The code of a number in [−1, 1] or [0, 1]. random: its upper 20 bits are used.
  template <Rounding rounding> static Bits encode(float value, Bits random) {
    const Bits bits = std::bit_cast<Bits>(value);
    const float magnitude = std::bit_cast<float>(positive ? bits : bits & kMagnitude) + zero;
    const Bits up = rounding == Rounding::nearest ? 0x80000u : random >> 12;
    const Bits level = ((std::bit_cast<Bits>(magnitude) + up) >> 20) - offset;
    const Bits code = std::min(level, highest); // a NaN is beyond it
    return positive ? code : code | ((bits >> 24) & 0x80u);
  }
};

// One block: `count` ≤ kCodeBlock elements, whole groups.
template <bool positive, class T>
inline void decode_block(const Bits *words, float scale, std::int64_t count, T *values) {
  for (std::int64_t group = 0; group < count; group += kCodeGroup, words += 8, values += kCodeGroup)
    for (int b = 0; b < 4; ++b)
      for (int j = 0; j < 8; ++j)
        values[8 * b + j] = static_cast<T>(Code<positive>::decode(words[j] >> (8 * b)) * scale);
}

// The same; padding must be 0. Returns the scale.
template <bool positive, Rounding rounding, Half half, class T>
inline float encode_block(const T *values, std::int64_t count, const Bits *random, Bits *words) {
  Bits largest = 0; // of the magnitudes' bits, so that a NaN is the largest of all
  for (std::int64_t i = 0; i < count; ++i)
    largest = std::max(largest, std::bit_cast<Bits>(static_cast<float>(values[i])) & kMagnitude);
  constexpr float top = 1.0f - Code<positive>::zero; // what the highest code stands for
  const float most = largest < 0x00800000u ? 0.0f : std::bit_cast<float>(largest);
  const float inverse = most == 0.0f ? 0.0f : top / most;
  for (std::int64_t group = 0; group < count; group += kCodeGroup, words += 8)
    for (int j = 0; j < 8; ++j) {
      Bits word = 0;
      for (int b = 0; b < 4; ++b) {
        const std::int64_t i = group + 8 * b + j;
        const float value = static_cast<float>(values[i]) * inverse;
        word |= Code<positive>::template encode<rounding>(value, upper_bits<half>(random[i]))
                << (8 * b);
      }
      words[j] = word;
    }
  return most / top;
}

} // namespace unstuck::optim
