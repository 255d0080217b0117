// What an update rule is made of: fields, slots, and the one division that every rule shares.
//
// θ parameter, g gradient, lr learning rate of this update, t its number, from 1. A rule has
//   name, Hyper      hyper-parameters besides lr with their defaults; switches are 0 or 1, choices
//                    count from 0
//   fields           the members of Hyper by name, in order
//   Option, variant  the switches that change which slots are kept or which formula runs: a bit
//                    each, compiled as a loop each. Everything else is a number in Scalars.
//   slots            the state vectors that a combination of options keeps
//   start            (where not 0) the value that a slot starts at
//   prepare          what is the same for all parameters, computed in double once per update
//   step             the formula for one parameter, the only place where it is written
//   gather, move     instead of step where they separate: the slots from θ and g, then θ from the
//                    slots, so that low-bit state is encoded while the division of move is under
//                    way
// A rule that scales a block by a trust ratio ‖θ‖/‖u‖ has also
//   measure          changes the slots that step will read, and gives u for one parameter
//   advance          θ from u, if measure changes slots: u need not be computed twice
//   trust            the ratio from the two norms; the first member of Scalars receives it
#pragma once
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <tuple>

namespace unstuck::optim {

inline constexpr int kMaxSlots = 4;

template <class Hyper> struct Field {
  std::string_view name;
  double Hyper::*member;
};

// positive: never below 0, so that a low-bit format needs no sign.
struct Slot {
  std::string_view name;
  bool positive = false;
};

struct Slots {
  std::array<Slot, kMaxSlots> slot{};
  int count = 0;
  constexpr void add(std::string_view name, bool positive = false) {
    slot[static_cast<std::size_t>(count++)] = {name, positive};
  }
};

// numerator / denominator, and 0 where the denominator is 0: with ε = 0 a parameter whose gradients
// were all zero does not move. NaN passes through.
template <class T> inline T ratio(T numerator, T denominator) {
  return denominator == T(0) ? T(0) : numerator / denominator;
}

template <class Rule>
inline constexpr bool kSeparates = requires { &Rule::template gather<0u, float>; };

// One parameter's update.
template <class Rule, unsigned option, class T, class Scalars>
inline void update(const Scalars &c, T &theta, T g, T *slot) {
  if constexpr (kSeparates<Rule>) {
    Rule::template gather<option>(c, theta, g, slot);
    Rule::template move<option>(c, theta, slot);
  } else {
    Rule::template step<option>(c, theta, g, slot);
  }
}

// The larger one; a NaN in `fresh` is taken over.
template <class T> inline T larger(T old, T fresh) { return old >= fresh ? old : fresh; }

// 1 − βᵗ
inline double bias_correction(double beta, std::int64_t t) {
  return 1.0 - std::pow(beta, static_cast<double>(t));
}

} // namespace unstuck::optim
