// The update rules, one struct each, and the type list that every other file reads them from.
//
// θ parameter, g gradient, lr learning rate of this update, t its number, from 1. A rule has
//   name, Hyper      hyper-parameters besides lr with their defaults; switches are 0 or 1
//   fields           the members of Hyper by name, in order
//   Option, variant  the switches that change the formula: a bit each, compiled as a loop each
//   slots            names of the state vectors that a combination of options keeps; all start at 0
//   prepare          what is the same for all parameters, computed in double once per update
//   step             the formula for one parameter, the only place where it is written
#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <tuple>

namespace unstuck::optim {

inline constexpr int kMaxSlots = 4;

template <class Hyper> struct Field {
  std::string_view name;
  double Hyper::*member;
};

struct SlotNames {
  std::array<std::string_view, kMaxSlots> name{};
  int count = 0;
  constexpr void add(std::string_view slot) { name[static_cast<std::size_t>(count++)] = slot; }
};

// numerator / denominator, and 0 where the denominator is 0: with ε = 0 a parameter whose gradients
// were all zero does not move. NaN passes through.
template <class T> inline T ratio(T numerator, T denominator) {
  return denominator == T(0) ? T(0) : numerator / denominator;
}

// g ← g + λθ;  b ← μb + (1 − dampening)·g, the first time b = g;
// d = b, with Nesterov d = g + μb;  θ ← θ − lr·d.   Reference: torch.optim.SGD.
struct SGD {
  static constexpr std::string_view name = "SGD";
  struct Hyper {
    double momentum = 0.0, dampening = 0.0, weight_decay = 0.0, nesterov = 0.0;
  };
  static constexpr std::array<Field<Hyper>, 4> fields{{{"momentum", &Hyper::momentum},
                                                       {"dampening", &Hyper::dampening},
                                                       {"weight_decay", &Hyper::weight_decay},
                                                       {"nesterov", &Hyper::nesterov}}};
  enum Option : unsigned { kDecay = 1, kMomentum = 2, kNesterov = 4, kVariants = 8 };
  static constexpr unsigned variant(const Hyper &h) {
    return (h.weight_decay != 0.0 ? kDecay : 0u) | (h.momentum != 0.0 ? kMomentum : 0u) |
           (h.momentum != 0.0 && h.nesterov != 0.0 ? kNesterov : 0u);
  }
  static constexpr SlotNames slots(unsigned option) {
    SlotNames names;
    if (option & kMomentum)
      names.add("momentum_buffer");
    return names;
  }

  template <class T> struct Scalars {
    T lr, momentum, gradient_share, weight_decay;
  };
  template <class T> static Scalars<T> prepare(const Hyper &h, double lr, std::int64_t t) {
    return {T(lr), T(h.momentum), T(t == 1 ? 1.0 : 1.0 - h.dampening), T(h.weight_decay)};
  }
  template <unsigned option, class T>
  static void step(const Scalars<T> &c, T &theta, T g, [[maybe_unused]] T *slot) {
    if constexpr (option & kDecay)
      g += c.weight_decay * theta;
    if constexpr (option & kMomentum) {
      T &b = slot[0];
      b = c.momentum * b + c.gradient_share * g;
      g = option & kNesterov ? g + c.momentum * b : b;
    }
    theta -= c.lr * g;
  }
};

// g ← g + λθ;  s ← αs + (1 − α)g²;  centred: ḡ ← αḡ + (1 − α)g, r = √max(s − ḡ², 0) + ε, else r =
// √s + ε; d = g/r, with momentum b ← μb + g/r, d = b;  θ ← θ − lr·d.   Reference:
// torch.optim.RMSprop, which lacks the clamp and gives NaN where rounding makes s − ḡ² negative.
struct RMSProp {
  static constexpr std::string_view name = "RMSProp";
  struct Hyper {
    double alpha = 0.99, eps = 1e-8, weight_decay = 0.0, momentum = 0.0, centered = 0.0;
  };
  static constexpr std::array<Field<Hyper>, 5> fields{{{"alpha", &Hyper::alpha},
                                                       {"eps", &Hyper::eps},
                                                       {"weight_decay", &Hyper::weight_decay},
                                                       {"momentum", &Hyper::momentum},
                                                       {"centered", &Hyper::centered}}};
  enum Option : unsigned { kDecay = 1, kMomentum = 2, kCentered = 4, kVariants = 8 };
  static constexpr unsigned variant(const Hyper &h) {
    return (h.weight_decay != 0.0 ? kDecay : 0u) | (h.momentum != 0.0 ? kMomentum : 0u) |
           (h.centered != 0.0 ? kCentered : 0u);
  }
  static constexpr SlotNames slots(unsigned option) {
    SlotNames names;
    names.add("square_average");
    if (option & kCentered)
      names.add("gradient_average");
    if (option & kMomentum)
      names.add("momentum_buffer");
    return names;
  }

  template <class T> struct Scalars {
    T lr, alpha, one_minus_alpha, eps, weight_decay, momentum;
  };
  template <class T> static Scalars<T> prepare(const Hyper &h, double lr, std::int64_t) {
    return {T(lr), T(h.alpha), T(1.0 - h.alpha), T(h.eps), T(h.weight_decay), T(h.momentum)};
  }
  template <unsigned option, class T>
  static void step(const Scalars<T> &c, T &theta, T g, T *slot) {
    if constexpr (option & kDecay)
      g += c.weight_decay * theta;
    T &s = slot[0];
    s = c.alpha * s + c.one_minus_alpha * g * g;
    T square = s;
    if constexpr (option & kCentered) {
      T &average = slot[1];
      average = c.alpha * average + c.one_minus_alpha * g;
      const T variance = s - average * average;
      square = variance < T(0) ? T(0) : variance;
    }
    T d = ratio(g, std::sqrt(square) + c.eps);
    if constexpr (option & kMomentum) {
      T &b = slot[option & kCentered ? 2 : 1];
      b = c.momentum * b + d;
      d = b;
    }
    theta -= c.lr * d;
  }
};

// g ← g + λθ;  m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  AMSGrad: w ← max(w, v), else w = v;
// θ ← θ − lr·m̂/(√ŵ + ε) with m̂ = m/(1 − β₁ᵗ), ŵ = w/(1 − β₂ᵗ), computed with one division as
// a·m/(√w + ε√(1 − β₂ᵗ)), a = lr·√(1 − β₂ᵗ)/(1 − β₁ᵗ).   Reference: torch.optim.Adam; Kingma & Ba
// 1412.6980.
struct Adam {
  static constexpr std::string_view name = "Adam";
  struct Hyper {
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.0, amsgrad = 0.0;
  };
  static constexpr std::array<Field<Hyper>, 5> fields{{{"beta1", &Hyper::beta1},
                                                       {"beta2", &Hyper::beta2},
                                                       {"eps", &Hyper::eps},
                                                       {"weight_decay", &Hyper::weight_decay},
                                                       {"amsgrad", &Hyper::amsgrad}}};
  enum Option : unsigned { kDecay = 1, kAmsgrad = 2, kVariants = 4 };
  static constexpr unsigned variant(const Hyper &h) {
    return (h.weight_decay != 0.0 ? kDecay : 0u) | (h.amsgrad != 0.0 ? kAmsgrad : 0u);
  }
  static constexpr SlotNames slots(unsigned option) {
    SlotNames names;
    names.add("first_moment");
    names.add("second_moment");
    if (option & kAmsgrad)
      names.add("largest_second_moment");
    return names;
  }

  template <class T> struct Scalars {
    T rate, eps, beta1, one_minus_beta1, beta2, one_minus_beta2, weight_decay;
  };
  template <class T> static Scalars<T> prepare(const Hyper &h, double lr, std::int64_t t) {
    const double correction1 = 1.0 - std::pow(h.beta1, static_cast<double>(t));
    const double root2 = std::sqrt(1.0 - std::pow(h.beta2, static_cast<double>(t)));
    return {T(lr * root2 / correction1),
            T(h.eps * root2),
            T(h.beta1),
            T(1.0 - h.beta1),
            T(h.beta2),
            T(1.0 - h.beta2),
            T(h.weight_decay)};
  }
  template <unsigned option, class T>
  static void step(const Scalars<T> &c, T &theta, T g, T *slot) {
    if constexpr (option & kDecay)
      g += c.weight_decay * theta;
    T &m = slot[0], &v = slot[1];
    m = c.beta1 * m + c.one_minus_beta1 * g;
    v = c.beta2 * v + c.one_minus_beta2 * g * g;
    T largest = v;
    if constexpr (option & kAmsgrad) {
      T &w = slot[2];
      w = w >= v ? w : v; // a NaN in v is taken over
      largest = w;
    }
    theta -= c.rate * ratio(m, std::sqrt(largest) + c.eps);
  }
};

// Every rule there is. Adding one: its struct above, its name here, its class in
// python/unstuck/optim/rules.py and its row in tests/optim_cases.py.
using Rules = std::tuple<SGD, RMSProp, Adam>;

} // namespace unstuck::optim
