// The compiled loops of every rule and combination of options, found by id.
#pragma once
#include <array>
#include <cstdint>

#include "unstuck/optim/codes.hpp"
#include "unstuck/optim/rules/rule.hpp"
#include "unstuck/optim/update.hpp"

namespace unstuck::optim {

inline constexpr int kMaxScalars = 16;
template <class T> using Scalars = std::array<T, kMaxScalars>;

// How state vectors are kept.
struct Coding {
  Format format = Format::theta;
  Rounding rounding = Rounding::stochastic;
};

// A block of a slot's codes; without a scale for bfloat16.
struct SlotCodes {
  Bits *words;
  float *scale;
};

// Loops over one block of low-bit state. `place` is that of its first element.
template <class T> struct CodedLoops {
  // The rule on a block of kCodeBlock parameters. values: room for each slot's.
  using Whole = void (*)(const T *scalars, T scale, T *theta, const T *gradient, Bits place,
                         const SlotCodes *codes, T *const *values);
  // Codes to values and back; `count` ≤ kCodeBlock in whole groups.
  using Decode = void (*)(const SlotCodes *codes, std::int64_t count, T *const *values);
  using Encode = void (*)(T *const *values, std::int64_t count, Bits place, const SlotCodes *codes);
  Whole whole = nullptr; // of float parameters only
  Decode decode = nullptr;
  Encode encode = nullptr;
};

// Pointers point to the first of `count` parameters. The gradient is multiplied by `scale` on the
// way in; 1 leaves every bit as it is.
template <class T> struct Loops {
  using Step = void (*)(const T *scalars, T scale, std::int64_t count, T *theta, const T *gradient,
                        T *const *slots);
  // Writes u, whose norm the trust ratio divides by.
  using Measure = void (*)(const T *scalars, T scale, std::int64_t count, const T *theta,
                           const T *gradient, T *const *slots, T *u);
  // θ from u; only rules that can.
  using Advance = void (*)(const T *scalars, std::int64_t count, T *theta, const T *u);
  Step step = nullptr;
  Advance advance = nullptr;
  Measure measure = nullptr; // only rules with a trust ratio
  CodedLoops<T> coded;       // only rules without
};

unsigned rule_variant(RuleId rule, const double *hyper);

template <class T> Loops<T> find_loops(RuleId rule, unsigned option, const Coding &coding);

// What is the same for all parameters of a block with these factors.
template <class T>
Scalars<T> prepare(RuleId rule, const double *hyper, double lr, std::int64_t t,
                   const BlockSetting &block);

// 1 for a block that is excluded or that the rule does not adapt.
double trust_ratio(RuleId rule, const double *hyper, double lr, const BlockSetting &block,
                   double theta_norm, double update_norm);

extern template Loops<float> find_loops<float>(RuleId, unsigned, const Coding &);
extern template Loops<double> find_loops<double>(RuleId, unsigned, const Coding &);

} // namespace unstuck::optim
