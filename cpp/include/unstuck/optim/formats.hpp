// Formats of state vectors: the dtype of θ, bfloat16, or 8-bit codes (optim/codes.hpp); rounding.
//
// Rounding is to the nearest value, or stochastic: up with a probability that makes the mean exact,
// from a hash of (seed, index), so that it depends neither on threads nor on the order of work.
#pragma once
#include <bit>
#include <cstdint>

namespace unstuck::optim {

enum class Format : int { theta, bfloat16, int8 };
enum class Rounding : int { nearest, stochastic };

using Bits = std::uint32_t;
inline constexpr Bits kOne = 0x3F800000u, kMagnitude = 0x7FFFFFFFu, kInfinity = 0x7F800000u,
                      kSign = 0x80000000u, kGolden = 0x9e3779b9u;

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
  return mix(static_cast<Bits>(update) + mix(static_cast<Bits>(update >> 32) + kGolden));
}

// A place on the Weyl sequence that element `index` has with this seed; element index + i is at
// place + i·kGolden. The low 32 bits of an index count.
inline Bits rounding_place(Bits seed, std::int64_t index) {
  return seed + static_cast<Bits>(index) * kGolden;
}

// Random bits of a place for state vectors 2·pair and 2·pair + 1, which use its upper and its lower
// bits. Half a round of mixing on the Weyl sequence: plenty for rounding, since seeds are well
// mixed.
template <int pair = 0> inline Bits random_bits(Bits place) {
  const Bits x = (place ^ (place >> 16)) * 0x85ebca6bu;
  return pair == 0 ? x : mix(x ^ (static_cast<Bits>(pair) * kGolden));
}

inline float from_bfloat16(std::uint16_t code) { return std::bit_cast<float>(Bits{code} << 16); }

// The upper half of the result's bits is the code. random: of the element; nearest: ties to even.
// A NaN keeps its upper bits, so it must be a quiet one, as arithmetic returns.
template <Rounding rounding, bool lower> inline Bits round_to_bfloat16(float value, Bits random) {
  const Bits bits = std::bit_cast<Bits>(value);
  const Bits nearest = 0x7FFFu + ((bits >> 16) & 1u);
  const Bits stochastic = lower ? random & 0xFFFFu : random >> 16;
  const Bits up = rounding == Rounding::nearest ? nearest : stochastic;
  return bits + (value == value ? up : 0u);
}

template <Rounding rounding, bool lower = false>
inline std::uint16_t to_bfloat16(float value, Bits random) {
  return static_cast<std::uint16_t>(round_to_bfloat16<rounding, lower>(value, random) >> 16);
}

} // namespace unstuck::optim
