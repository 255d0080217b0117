// One update of all parameters in one pass over memory; rules are ids here, not template arguments.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace unstuck {

// Position of a rule in the type list of optim/rules.hpp.
enum class RuleId : int {};

RuleId find_rule(std::string_view name); // ArgumentError names the rules there are
std::vector<std::string> rule_names();
std::string rule_name(RuleId rule);

// Names and defaults of the hyper-parameters besides lr, in the order in which `hyper` below holds
// them.
std::vector<std::string> hyper_names(RuleId rule);
std::vector<double> default_hyper(RuleId rule);

// Names of the state vectors that this rule keeps with these hyper-parameters, in the order of
// `slots` below. Each has one element per parameter and starts at zero.
std::vector<std::string> slot_names(RuleId rule, const double *hyper);

// One update of one rule with its scalars computed: a small value, free of allocation, that any
// number of threads may apply to ranges that do not overlap.
template <class T> class PreparedStep {
public:
  // Updates the parameters begin … end−1. theta, gradient and slots[k] point to parameter 0.
  // A parameter's bits depend neither on how the ranges are cut nor on the CPU level.
  void apply(std::int64_t begin, std::int64_t end, T *theta, const T *gradient,
             T *const *slots) const {
    loop_(scalars_.data(), gradient_scale_, begin, end, theta, gradient, slots);
  }

  static constexpr int kMaxScalars = 16;
  using Loop = void (*)(const T *scalars, T gradient_scale, std::int64_t begin, std::int64_t end,
                        T *theta, const T *gradient, T *const *slots);
  PreparedStep(Loop loop, const std::array<T, kMaxScalars> &scalars, T gradient_scale)
      : loop_(loop), scalars_(scalars), gradient_scale_(gradient_scale) {}

private:
  Loop loop_;
  std::array<T, kMaxScalars> scalars_;
  T gradient_scale_;
};

// t: number of this update, 1 for the first. lr: the learning rate of this update.
// gradient_scale multiplies the gradient on the way in (a clip coefficient); 1 leaves every bit as
// it is.
template <class T>
PreparedStep<T> prepare_step(RuleId rule, const double *hyper, double lr, std::int64_t t,
                             double gradient_scale = 1.0);

// The whole update: constant blocks through parallel_ranges, the same bits for any number of
// threads. NaN and infinity in the gradient pass through to theta and slots.
template <class T>
void optimizer_step(RuleId rule, const double *hyper, double lr, std::int64_t t, std::int64_t n,
                    T *theta, const T *gradient, T *const *slots, double gradient_scale = 1.0);

extern template PreparedStep<float> prepare_step(RuleId, const double *, double, std::int64_t,
                                                 double);
extern template PreparedStep<double> prepare_step(RuleId, const double *, double, std::int64_t,
                                                  double);
extern template void optimizer_step(RuleId, const double *, double, std::int64_t, std::int64_t,
                                    float *, const float *, float *const *, double);
extern template void optimizer_step(RuleId, const double *, double, std::int64_t, std::int64_t,
                                    double *, const double *, double *const *, double);

} // namespace unstuck
