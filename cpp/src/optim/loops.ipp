// The loops as templates; each type is compiled in a file of its own.
#pragma once
#include <cstring>

#include "coded_loops.ipp"
#include "dispatch.hpp"
#include "loops.hpp"

namespace unstuck::optim {

template <class Rule, unsigned option, class T>
void step_loop(const T *scalars, T scale, std::int64_t count, T *theta, const T *gradient,
               T *const *slots) {
  constexpr int kept = Rule::slots(option).count;
  typename Rule::template Scalars<T> c;
  std::memcpy(&c, scalars, sizeof(c));
  T *slot[kMaxSlots] = {};
  for (int k = 0; k < kept; ++k)
    slot[k] = slots[k];
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    T state[kMaxSlots] = {}, parameter = theta[i];
    for (int k = 0; k < kept; ++k)
      state[k] = slot[k][i];
    update<Rule, option>(c, parameter, gradient[i] * scale, state);
    theta[i] = parameter;
    for (int k = 0; k < kept; ++k)
      slot[k][i] = state[k];
  }
}

template <class Rule, unsigned option, class T>
void measure_loop(const T *scalars, T scale, std::int64_t count, const T *theta, const T *gradient,
                  T *const *slots, T *u) {
  constexpr int kept = Rule::kMeasureWrites ? Rule::slots(option).count : 0;
  typename Rule::template Scalars<T> c;
  std::memcpy(&c, scalars, sizeof(c));
  T *slot[kMaxSlots] = {};
  for (int k = 0; k < kept; ++k)
    slot[k] = slots[k];
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    T state[kMaxSlots] = {};
    for (int k = 0; k < kept; ++k)
      state[k] = slot[k][i];
    u[i] = Rule::template measure<option>(c, theta[i], gradient[i] * scale, state);
    for (int k = 0; k < kept; ++k)
      slot[k][i] = state[k];
  }
}

template <class Rule, unsigned option, class T>
void advance_loop(const T *scalars, std::int64_t count, T *theta, const T *u) {
  typename Rule::template Scalars<T> c;
  std::memcpy(&c, scalars, sizeof(c));
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i)
    Rule::advance(c, theta[i], u[i]);
}

template <class T> Loops<T> find_loops(RuleId rule, unsigned option, const Coding &coding) {
  return with_rule(rule, [&](auto r) {
    using Rule = decltype(r);
    return [&]<unsigned... V>(std::integer_sequence<unsigned, V...>) {
      static constexpr typename Loops<T>::Step steps[] = {&step_loop<Rule, V, T>...};
      Loops<T> loops;
      loops.step = steps[option];
      if constexpr (kLayerwise<Rule>) {
        static constexpr typename Loops<T>::Measure measures[] = {&measure_loop<Rule, V, T>...};
        loops.measure = measures[option];
        if constexpr (Rule::kMeasureWrites) {
          static constexpr typename Loops<T>::Advance advances[] = {&advance_loop<Rule, V, T>...};
          loops.advance = advances[option];
        }
      } else {
        static constexpr CodedLoops<T> (*coded[])(const Coding &) = {&coded_loops<Rule, V, T>...};
        loops.coded = coded[option](coding);
      }
      return loops;
    }(std::make_integer_sequence<unsigned, Rule::kVariants>{});
  });
}

template <class T>
Scalars<T> prepare(RuleId rule, const double *hyper, double lr, std::int64_t t,
                   const BlockSetting &block) {
  return with_rule(rule, [&](auto r) {
    using Rule = decltype(r);
    static_assert(sizeof(typename Rule::Hyper) == Rule::fields.size() * sizeof(double));
    static_assert(sizeof(typename Rule::template Scalars<T>) <= sizeof(Scalars<T>));
    typename Rule::Hyper h = read_hyper<Rule>(hyper);
    h.weight_decay *= block.decay;
    const auto c = Rule::template prepare<T>(h, lr * block.rate, t);
    Scalars<T> scalars{};
    std::memcpy(scalars.data(), &c, sizeof(c));
    return scalars;
  });
}

} // namespace unstuck::optim
