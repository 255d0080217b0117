// Formats of state vectors: the dtype of θ, bfloat16, or 8-bit codes with a scale for each block.
//
// Codes are small floating-point numbers relative to the largest magnitude of their block of 256:
// three bits of mantissa, so that decoding and exact rounding are shifts of a float's bits. Code 0
// is 0; the highest code is 1; code k is 2^-((highest − k)/8), linear within an octave. Positive
// vectors have 255 magnitudes over 31.75 octaves, signed ones 127 over 15.75 and a sign bit. A NaN
// or infinity makes its whole block NaN.
//
// Rounding is to the nearest value, ties to even, or stochastic: up with a probability that makes
// the mean exact, from a hash of (seed, index), so that it depends neither on threads nor on the
// order of work.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>

namespace unstuck::optim {

enum class Format : int { theta, bfloat16, int8 };
enum class Rounding : int { nearest, stochastic };

inline constexpr std::int64_t kCodeBlock = 256;

using Bits = std::uint32_t;
inline constexpr Bits kOne = 0x3F800000u, kMagnitude = 0x7FFFFFFFu, kInfinity = 0x7F800000u;

// 32 well-mixed bits. Source: Ellis, "lowbias32" (public domain).
inline Bits mix(Bits x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

// A seed for each (update, vector).
inline Bits rounding_seed(std::int64_t t, int vector) {
  const auto update = static_cast<std::uint64_t>(t);
  return mix(static_cast<Bits>(update) + mix(static_cast<Bits>(update >> 32) + 0x9e3779b9u) +
             0x85ebca6bu * static_cast<Bits>(vector + 1));
}

// Bits for the element at `index`, of which the low 32 bits count up to 2³² parameters.
inline Bits noise(Bits seed, std::int64_t index) { return mix(seed + static_cast<Bits>(index)); }

inline float from_bfloat16(std::uint16_t code) { return std::bit_cast<float>(Bits{code} << 16); }

template <Rounding rounding> inline std::uint16_t to_bfloat16(float value, Bits random) {
  const Bits bits = std::bit_cast<Bits>(value);
  const Bits up = rounding == Rounding::nearest ? 0x7FFFu + ((bits >> 16) & 1u) : random & 0xFFFFu;
  const bool finite = (bits & kMagnitude) < kInfinity;
  const Bits quiet = (bits & kMagnitude) > kInfinity ? 0x400000u : 0u; // a NaN stays one
  return static_cast<std::uint16_t>((finite ? bits + up : bits | quiet) >> 16);
}

template <bool positive> struct Code {
  static constexpr Bits highest = positive ? 255 : 127;
  static constexpr Bits offset =
      (kOne >> 20) - highest; // code = the float's upper 12 bits − offset
  static constexpr Bits lowest_bits = (offset + 1) << 20;

  static float decode(std::uint8_t code) {
    const Bits magnitude = code & highest;
    const Bits bits = magnitude == 0 ? 0u : (magnitude + offset) << 20;
    return std::bit_cast<float>(positive ? bits : bits | (Bits{code} >> 7) << 31);
  }

  // The code of a number in [−1, 1], or in [0, 1] if positive.
  template <Rounding rounding> static std::uint8_t encode(float value, Bits random) {
    const Bits bits = std::bit_cast<Bits>(value), magnitude = bits & kMagnitude;
    const Bits up =
        rounding == Rounding::nearest ? 0x7FFFFu + ((magnitude >> 20) & 1u) : random >> 12;
    const auto level = static_cast<std::int32_t>(((magnitude + up) >> 20) - offset);
    // between 0 and the lowest code: below half of it, or with probability value/lowest
    constexpr float lowest = std::bit_cast<float>(lowest_bits);
    const float bar = rounding == Rounding::nearest
                          ? 0.5f * lowest
                          : static_cast<float>(random >> 8) * 0x1p-24f * lowest;
    const std::int32_t small = std::bit_cast<float>(magnitude) > bar ? 1 : 0;
    const std::int32_t large = std::min(level, static_cast<std::int32_t>(highest));
    const auto code = static_cast<Bits>(magnitude < lowest_bits ? small : large);
    return static_cast<std::uint8_t>(positive ? code : code | (bits >> 31) << 7);
  }
};

// Elements of one block, count ≤ kCodeBlock.
template <bool positive, class T>
inline void decode_block(const std::uint8_t *codes, float scale, std::int64_t count, T *values) {
  for (std::int64_t i = 0; i < count; ++i)
    values[i] = static_cast<T>(Code<positive>::decode(codes[i]) * scale);
}

// `index`: position of the block's first element. Returns the scale.
template <bool positive, Rounding rounding, class T>
inline float encode_block(const T *values, std::int64_t count, Bits seed, std::int64_t index,
                          std::uint8_t *codes) {
  Bits largest = 0; // of the magnitudes' bits, so that a NaN is the largest of all
  for (std::int64_t i = 0; i < count; ++i)
    largest = std::max(largest, std::bit_cast<Bits>(static_cast<float>(values[i])) & kMagnitude);
  const float scale = largest < 0x00800000u ? 0.0f : std::bit_cast<float>(largest);
  const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
  for (std::int64_t i = 0; i < count; ++i)
    codes[i] = Code<positive>::template encode<rounding>(
        static_cast<float>(values[i]) * inverse,
        rounding == Rounding::nearest ? 0u : noise(seed, index + i));
  return scale;
}

template <class T>
inline void decode_bfloat16(const std::uint16_t *codes, std::int64_t count, T *values) {
  for (std::int64_t i = 0; i < count; ++i)
    values[i] = static_cast<T>(from_bfloat16(codes[i]));
}

template <Rounding rounding, class T>
inline void encode_bfloat16(const T *values, std::int64_t count, Bits seed, std::int64_t index,
                            std::uint16_t *codes) {
  for (std::int64_t i = 0; i < count; ++i)
    codes[i] = to_bfloat16<rounding>(static_cast<float>(values[i]),
                                     rounding == Rounding::nearest ? 0u : noise(seed, index + i));
}

} // namespace unstuck::optim
