// The loops over low-bit state as templates: whole blocks in one go, other parts in three stages.
#pragma once
#include <cstring>
#include <utility>

#include "loops.hpp"

namespace unstuck::optim {

// Calls f with the number of each slot as a constant.
template <class Rule, unsigned option, class F> inline void each_slot(F &&f) {
  [&]<int... k>(std::integer_sequence<int, k...>) {
    (f(std::integral_constant<int, k>{}), ...);
  }(std::make_integer_sequence<int, Rule::slots(option).count>{});
}

template <class Rule, unsigned option, int slot>
inline constexpr bool kPositive = Rule::slots(option).slot[slot].positive;

// Elements 8b … 8b + 7 of a group: the rule on parts b of its words. Pointers point to the group.
template <class Rule, unsigned option, Rounding rounding, int b, class T>
inline void half_part(const typename Rule::template Scalars<T> &c, T scale, T *theta,
                      const T *gradient, Bits place, Bits *const *words, Bits (*rounded)[8]) {
  constexpr int kept = Rule::slots(option).count;
#pragma GCC ivdep
  for (int j = 0; j < 8; ++j) {
    T state[kMaxSlots] = {}, parameter = theta[8 * b + j];
    for (int k = 0; k < kept; ++k)
      state[k] = static_cast<T>(half_of(words[k][j], b));
    update<Rule, option>(c, parameter, gradient[8 * b + j] * scale, state);
    theta[8 * b + j] = parameter;
    const Bits own = place + static_cast<Bits>(8 * b + j) * kGolden;
    each_slot<Rule, option>([&](auto k) {
      rounded[k][j] = round_to_bfloat16<rounding, k % 2 == 1>(static_cast<float>(state[k]),
                                                              random_bits<k / 2>(own));
    });
  }
}

template <class Rule, unsigned option, Rounding rounding, class T>
void half_block(const T *scalars, T scale, T *theta, const T *gradient, Bits place,
                const SlotCodes *codes, T *const *) {
  constexpr int kept = Rule::slots(option).count;
  typename Rule::template Scalars<T> c;
  std::memcpy(&c, scalars, sizeof(c));
  Bits *words[kMaxSlots] = {};
  for (int k = 0; k < kept; ++k)
    words[k] = codes[k].words;
  for (int group = 0; group < kCodeBlock; group += 16, place += 16 * kGolden) {
    Bits low[kMaxSlots][8], high[kMaxSlots][8];
    half_part<Rule, option, rounding, 0>(c, scale, theta + group, gradient + group, place, words,
                                         low);
    half_part<Rule, option, rounding, 1>(c, scale, theta + group, gradient + group, place, words,
                                         high);
    for (int k = 0; k < kept; ++k) {
      for (int j = 0; j < 8; ++j)
        words[k][j] = (low[k][j] >> 16) | (high[k][j] & 0xFFFF0000u);
      words[k] += 8;
    }
  }
}

template <class Rule, unsigned option, class T>
void decode_halves(const SlotCodes *codes, std::int64_t count, T *const *values) {
  for (int k = 0; k < Rule::slots(option).count; ++k)
    for (int group = 0; group < count; group += 16)
      for (int j = 0; j < 8; ++j)
        for (int b = 0; b < 2; ++b)
          values[k][group + 8 * b + j] = static_cast<T>(half_of(codes[k].words[group / 2 + j], b));
}

template <class Rule, unsigned option, Rounding rounding, class T>
void encode_halves(T *const *values, std::int64_t count, Bits place, const SlotCodes *codes) {
  each_slot<Rule, option>([&](auto k) {
    for (int group = 0; group < count; group += 16)
      for (int j = 0; j < 8; ++j) {
        Bits rounded[2] = {};
        for (int b = 0; b < 2; ++b)
          rounded[b] = round_to_bfloat16<rounding, k % 2 == 1>(
              static_cast<float>(values[k][group + 8 * b + j]),
              random_bits<k / 2>(place + static_cast<Bits>(group + 8 * b + j) * kGolden));
        codes[k].words[group / 2 + j] = (rounded[0] >> 16) | (rounded[1] & 0xFFFF0000u);
      }
  });
}

template <class Rule, unsigned option, class T>
void decode_bytes(const SlotCodes *codes, std::int64_t count, T *const *values) {
  each_slot<Rule, option>([&](auto k) {
    decode_block<kPositive<Rule, option, k>>(codes[k].words, *codes[k].scale, count, values[k]);
  });
}

// Slots `first` and, if there is one, the next, which share random bits. meanwhile(i) is called for
// every element.
template <class Rule, unsigned option, Rounding rounding, int first, class T, class F>
inline void encode_pair(T *const *values, std::int64_t count, Bits place, const Bits *largest,
                        const SlotCodes *codes, F &&meanwhile) {
  constexpr bool two = first + 1 < Rule::slots(option).count;
  constexpr int second = first + (two ? 1 : 0);
  const T *a = values[first], *b = values[second];
  const auto grid_a = Grid<kPositive<Rule, option, first>>::of(largest[first]);
  const auto grid_b = Grid<kPositive<Rule, option, second>>::of(largest[second]);
  Bits *words_a = codes[first].words, *words_b = codes[second].words;
  for (std::int64_t group = 0; group < count; group += 32, place += 32 * kGolden) {
#pragma GCC ivdep
    for (int j = 0; j < 8; ++j) {
      Bits random[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i)
        random[i] = random_bits<first / 2>(place + static_cast<Bits>(8 * i + j) * kGolden);
      (meanwhile(group + j), meanwhile(group + 8 + j), meanwhile(group + 16 + j),
       meanwhile(group + 24 + j));
      words_a[j] = encode_word<kPositive<Rule, option, first>, rounding, 0>(a + j, grid_a, random);
      if constexpr (two)
        words_b[j] =
            encode_word<kPositive<Rule, option, second>, rounding, 1>(b + j, grid_b, random);
    }
    a += 32, b += 32, words_a += 8, words_b += 8;
  }
  *codes[first].scale = grid_a.scale;
  if constexpr (two)
    *codes[second].scale = grid_b.scale;
}

template <class Rule, unsigned option, Rounding rounding, class T, class F>
inline void encode_largest(T *const *values, std::int64_t count, Bits place, const Bits *largest,
                           const SlotCodes *codes, F &&meanwhile) {
  constexpr int kept = Rule::slots(option).count;
  if constexpr (kept > 0)
    encode_pair<Rule, option, rounding, 0>(values, count, place, largest, codes, meanwhile);
  if constexpr (kept > 2)
    encode_pair<Rule, option, rounding, 2>(values, count, place, largest, codes, [](auto) {});
}

template <class Rule, unsigned option, Rounding rounding, class T>
void encode_bytes(T *const *values, std::int64_t count, Bits place, const SlotCodes *codes) {
  Bits largest[kMaxSlots] = {};
  for (int k = 0; k < Rule::slots(option).count; ++k)
    largest[k] = largest_magnitude(values[k], count);
  encode_largest<Rule, option, rounding>(values, count, place, largest, codes, [](auto) {});
}

// As half_part, to `values`; `largest` receives the bits of the largest magnitudes. Of a rule that
// separates only the first half: θ does not move.
template <class Rule, unsigned option, int b, class T>
inline void byte_part(const typename Rule::template Scalars<T> &c, T scale, T *theta,
                      const T *gradient, Bits *const *words, const float *scales, T *const *values,
                      Bits (*largest)[8]) {
  constexpr Slots slots = Rule::slots(option);
#pragma GCC ivdep
  for (int j = 0; j < 8; ++j) {
    T state[kMaxSlots] = {}, parameter = theta[8 * b + j];
    each_slot<Rule, option>([&](auto k) {
      const Grid<kPositive<Rule, option, k>> grid{scales[k]};
      state[k] = static_cast<T>(grid.decode(words[k][j], b));
    });
    if constexpr (kSeparates<Rule>) {
      Rule::template gather<option>(c, parameter, gradient[8 * b + j] * scale, state);
    } else {
      Rule::template step<option>(c, parameter, gradient[8 * b + j] * scale, state);
      theta[8 * b + j] = parameter;
    }
    for (int k = 0; k < slots.count; ++k) {
      values[k][8 * b + j] = state[k];
      const Bits bits = std::bit_cast<Bits>(static_cast<float>(state[k]));
      largest[k][j] = std::max(largest[k][j], slots.slot[k].positive ? bits : bits & kMagnitude);
    }
  }
}

template <class Rule, unsigned option, Rounding rounding, class T>
void byte_block(const T *scalars, T scale, T *theta, const T *gradient, Bits place,
                const SlotCodes *codes, T *const *values) {
  constexpr int kept = Rule::slots(option).count;
  typename Rule::template Scalars<T> c;
  std::memcpy(&c, scalars, sizeof(c));
  Bits *words[kMaxSlots] = {}, lanes[kMaxSlots][8] = {}, largest[kMaxSlots] = {};
  float scales[kMaxSlots] = {};
  T *room[kMaxSlots] = {};
  for (int k = 0; k < kept; ++k) {
    words[k] = codes[k].words;
    scales[k] = *codes[k].scale;
    room[k] = values[k];
  }
  for (int group = 0; group < kCodeBlock; group += 32) {
    [&]<int... b>(std::integer_sequence<int, b...>) {
      (byte_part<Rule, option, b>(c, scale, theta + group, gradient + group, words, scales, room,
                                  lanes),
       ...);
    }(std::make_integer_sequence<int, 4>{});
    for (int k = 0; k < kept; ++k) {
      words[k] += 8;
      room[k] += 32;
    }
  }
  for (int k = 0; k < kept; ++k)
    largest[k] = *std::max_element(lanes[k], lanes[k] + 8);
  encode_largest<Rule, option, rounding>(values, kCodeBlock, place, largest, codes, [&](auto i) {
    if constexpr (kSeparates<Rule>) {
      T state[kMaxSlots] = {}, parameter = theta[i];
      for (int k = 0; k < kept; ++k)
        state[k] = values[k][i];
      Rule::template move<option>(c, parameter, state);
      theta[i] = parameter;
    }
  });
}

template <class Rule, unsigned option, class T> CodedLoops<T> coded_loops(const Coding &coding) {
  constexpr auto nearest = Rounding::nearest, stochastic = Rounding::stochastic;
  const bool near = coding.rounding == nearest;
  // float64 parameters with low-bit state are rare: their blocks take the three stages
  constexpr bool in_one_go = sizeof(T) == sizeof(float);
  CodedLoops<T> loops;
  if (coding.format == Format::bfloat16) {
    if constexpr (in_one_go)
      loops.whole =
          near ? &half_block<Rule, option, nearest, T> : &half_block<Rule, option, stochastic, T>;
    loops.decode = &decode_halves<Rule, option, T>;
    loops.encode = near ? &encode_halves<Rule, option, nearest, T>
                        : &encode_halves<Rule, option, stochastic, T>;
  } else if (coding.format == Format::int8) {
    if constexpr (in_one_go)
      loops.whole =
          near ? &byte_block<Rule, option, nearest, T> : &byte_block<Rule, option, stochastic, T>;
    loops.decode = &decode_bytes<Rule, option, T>;
    loops.encode =
        near ? &encode_bytes<Rule, option, nearest, T> : &encode_bytes<Rule, option, stochastic, T>;
  }
  return loops;
}

} // namespace unstuck::optim
