// Low-bit codes of state vectors: 16 bits of bfloat16, or 8 bits with a grid for each block of 256.
//
// An 8-bit code k stands for F(B + k) − F(B): F(i) is the float whose upper 12 bits are i, a point
// of the floating-point grid with three bits of mantissa, and F(B) is the block's scale, chosen so
// that the highest code is just above the largest magnitude. The points are logarithmic, linear
// towards 0, and 0 is exact. Decoding is a shift and a subtraction; adding F(B) to a magnitude
// gives the code below it as its upper bits. Positive vectors have 255 codes above 0, from 2^-35 of
// the largest on; signed ones 127 from 2^-19 on and a sign bit. A NaN or infinity makes its block
// NaN. The nearest code is that whose decoded float32 is nearest; a tie goes to the smaller
// magnitude.
//
// Codes lie in words of 32 bits, eight words to a group of 16 or 32 elements: element 8b + j of a
// group is part b of word j, so that eight lanes decode without a shuffle. The last group is
// padded.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "unstuck/optim/formats.hpp"

namespace unstuck::optim {

inline constexpr std::int64_t kCodeBlock = 256;

// Elements of a group: four 8-bit codes or two of bfloat16 in each of eight words.
inline constexpr std::int64_t code_group(Format format) { return format == Format::int8 ? 32 : 16; }

// Elements that n elements take with their padding.
inline constexpr std::int64_t padded(Format format, std::int64_t n) {
  const std::int64_t group = code_group(format);
  return (n + group - 1) / group * group;
}

// Part b of a word as a float.
inline float half_of(Bits word, int b) {
  return std::bit_cast<float>(b == 0 ? word << 16 : word & 0xFFFF0000u);
}

// The points of a block's grid.
template <bool positive> struct Grid {
  static constexpr Bits highest = positive ? 255 : 127, step = 1u << 20;
  // The lowest B: grids from here on have no denormal distances.
  static constexpr Bits lowest = 64;
  float scale; // F(B); 0 where all elements are

  // That of a block. largest: the bits of its largest magnitude, a NaN's above those of numbers.
  static Grid of(Bits largest) {
    if (largest >= kInfinity)
      return {std::bit_cast<float>(0x7FC00000u)};
    if (largest == 0)
      return {0.0f};
    const Bits top = largest / step; // F(top) ≤ largest < F(top + 1), the highest code
    const float scale = foot(top + 1);
    const bool carries = std::bit_cast<Bits>(std::bit_cast<float>(largest) + scale) / step > top;
    return {carries ? foot(top + 2) : scale};
  }

  Bits base() const { return std::bit_cast<Bits>(scale); }

  // Byte b of a word.
  float decode(Bits word, int b) const {
    const Bits level = (b < 3 ? word << (20 - 8 * b) : word >> 4) & (highest * step);
    const float magnitude = std::bit_cast<float>(level + base()) - scale;
    const Bits sign = positive ? 0u : (word << (24 - 8 * b)) & kSign;
    return std::bit_cast<float>(std::bit_cast<Bits>(magnitude) | sign);
  }

  // B + k in the upper 12 bits. random: 20 bits.
  template <Rounding rounding> Bits encode(float value, Bits random) const {
    const float magnitude = positive ? value : std::abs(value);
    const Bits bits = std::bit_cast<Bits>(magnitude + scale);
    if constexpr (rounding == Rounding::stochastic)
      return bits + random;
    const Bits below = bits & ~(step - 1), above = below + step;
    const float low = std::bit_cast<float>(below) - scale;
    const float high = std::bit_cast<float>(above) - scale;
    return magnitude - low > high - magnitude ? above : below;
  }

private:
  static float foot(Bits top) {
    return std::bit_cast<float>(std::max(top, highest + lowest) * step - highest * step);
  }
};

// What byte b adds to a word that starts at −0x01010101·B.
template <bool positive> inline Bits byte_of(Bits level, float value, int b) {
  const Bits code = b == 0   ? level >> 20
                    : b == 1 ? (level >> 12) & 0xFFFFFF00u
                    : b == 2 ? (level >> 4) & 0xFFFF0000u
                             : (level << 4) & 0xFF000000u;
  const Bits sign =
      positive ? 0u : (std::bit_cast<Bits>(value) >> (24 - 8 * b)) & (0x80u << (8 * b));
  return code + sign;
}

// The word of elements 8b + j of a group: `values` points to the j-th, random[b] are the bits of
// each. slot: the number of the vector, which decides about the part of the bits.
template <bool positive, Rounding rounding, int slot, class T>
inline Bits encode_word(const T *values, const Grid<positive> &grid, const Bits *random) {
  Bits word = 0u - (grid.base() >> 20) * 0x01010101u;
#pragma GCC unroll 4
  for (int b = 0; b < 4; ++b) {
    const Bits bits = slot % 2 ? random[b] & 0xFFFFFu : random[b] >> 12;
    const auto value = static_cast<float>(values[8 * b]);
    word += byte_of<positive>(grid.template encode<rounding>(value, bits), value, b);
  }
  return word;
}

// One block of 8-bit codes: `count` ≤ kCodeBlock elements, whole groups.
template <bool positive, class T>
inline void decode_block(const Bits *words, float scale, std::int64_t count, T *values) {
  const Grid<positive> grid{scale};
  for (std::int64_t at = 0; at < count; at += 32, words += 8, values += 32)
    for (int j = 0; j < 8; ++j) {
      const Bits word = words[j];
#pragma GCC unroll 4
      for (int b = 0; b < 4; ++b)
        values[8 * b + j] = static_cast<T>(grid.decode(word, b));
    }
}

// The bits of the largest magnitude; those of a NaN are above those of numbers.
template <class T> inline Bits largest_magnitude(const T *values, std::int64_t count) {
  Bits largest = 0;
  for (std::int64_t i = 0; i < count; ++i)
    largest = std::max(largest, std::bit_cast<Bits>(static_cast<float>(values[i])) & kMagnitude);
  return largest;
}

// One block of a vector on its own: its codes to `words`; padding must be 0. Returns the scale.
template <bool positive, Rounding rounding>
inline float encode_block(const float *values, std::int64_t count, Bits place, Bits *words) {
  const auto grid = Grid<positive>::of(largest_magnitude(values, count));
  for (std::int64_t at = 0; at < count; at += 32, place += 32 * kGolden)
    for (int j = 0; j < 8; ++j) {
      Bits random[4];
      for (int b = 0; b < 4; ++b)
        random[b] = random_bits(place + static_cast<Bits>(8 * b + j) * kGolden);
      *words++ = encode_word<positive, rounding, 0>(values + at + j, grid, random);
    }
  return grid.scale;
}

} // namespace unstuck::optim
