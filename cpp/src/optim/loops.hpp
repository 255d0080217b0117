// The compiled loops of every rule and combination of options, found by id.
#pragma once
#include <array>
#include <cstdint>

#include "unstuck/optim/rules/rule.hpp"
#include "unstuck/optim/update.hpp"

namespace unstuck::optim {

inline constexpr int kMaxScalars = 16;
template <class T> using Scalars = std::array<T, kMaxScalars>;

// Pointers point to the first of `count` parameters. The gradient is multiplied by `scale` on the
// way in; 1 leaves every bit as it is.
template <class T> struct Loops {
  using Step = void (*)(const T *scalars, T scale, std::int64_t count, T *theta, const T *gradient,
                        T *const *slots);
  // Writes u, whose norm the trust ratio divides by.
  using Measure = void (*)(const T *scalars, T scale, std::int64_t count, const T *theta,
                           const T *gradient, T *const *slots, T *u);
  // The same on slots of bfloat16, rounded as they are stored; `random` has an entry a parameter.
  using HalfStep = void (*)(const T *scalars, T scale, std::int64_t count, T *theta,
                            const T *gradient, std::uint16_t *const *slots, const Bits *random,
                            Rounding rounding);
  Step step = nullptr;
  HalfStep half_step = nullptr; // only rules without a trust ratio
  Measure measure = nullptr;    // only rules with a trust ratio
};

unsigned rule_variant(RuleId rule, const double *hyper);

template <class T> Loops<T> find_loops(RuleId rule, unsigned option);

// What is the same for all parameters of a block with these factors.
template <class T>
Scalars<T> prepare(RuleId rule, const double *hyper, double lr, std::int64_t t,
                   const BlockSetting &block);

// 1 for a block that is excluded or that the rule does not adapt.
double trust_ratio(RuleId rule, const double *hyper, double lr, const BlockSetting &block,
                   double theta_norm, double update_norm);

extern template Loops<float> find_loops<float>(RuleId, unsigned);
extern template Loops<double> find_loops<double>(RuleId, unsigned);

} // namespace unstuck::optim
