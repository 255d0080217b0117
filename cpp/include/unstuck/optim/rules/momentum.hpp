// Rules that follow the gradient or its sign, with momentum: SGD, Lion.
#pragma once
#include "unstuck/optim/rules/rule.hpp"

namespace unstuck::optim {

// g ← g + λθ;  b ← μb + (1 − dampening)·g, the first time b = g unless dampen_first;
// d = b, with Nesterov d = g + μb;  θ ← θ − lr·d.   Reference: torch.optim.SGD.
// lr_in_buffer: b ← μb + lr·(1 − dampening)·g, d = b or lr·g + μb, θ ← θ − d, as Keras, where the
// buffer is −b; the same at a constant rate, different under a schedule.
struct SGD {
  static constexpr std::string_view name = "SGD";
  struct Hyper {
    double momentum = 0.0, dampening = 0.0, weight_decay = 0.0, nesterov = 0.0, lr_in_buffer = 0.0,
           dampen_first = 0.0;
  };
  static constexpr std::array<Field<Hyper>, 6> fields{{{"momentum", &Hyper::momentum},
                                                       {"dampening", &Hyper::dampening},
                                                       {"weight_decay", &Hyper::weight_decay},
                                                       {"nesterov", &Hyper::nesterov},
                                                       {"lr_in_buffer", &Hyper::lr_in_buffer},
                                                       {"dampen_first", &Hyper::dampen_first}}};
  enum Option : unsigned { kMomentum = 1, kNesterov = 2, kVariants = 4 };
  static constexpr unsigned variant(const Hyper &h) {
    return h.momentum == 0.0 ? 0u : kMomentum | (h.nesterov != 0.0 ? kNesterov : 0u);
  }
  static constexpr Slots slots(unsigned option) {
    Slots slots;
    if (option & kMomentum)
      slots.add("momentum_buffer");
    return slots;
  }

  template <class T> struct Scalars {
    T inner_rate, rate, momentum, share, weight_decay;
  };
  template <class T> static Scalars<T> prepare(const Hyper &h, double lr, std::int64_t t) {
    const bool inside = h.lr_in_buffer != 0.0 && h.momentum != 0.0;
    const double inner = inside ? lr : 1.0;
    const double share = t == 1 && h.dampen_first == 0.0 ? 1.0 : 1.0 - h.dampening;
    return {T(inner), T(inside ? 1.0 : lr), T(h.momentum), T(share * inner), T(h.weight_decay)};
  }
  template <unsigned option, class T>
  static void step(const Scalars<T> &c, T &theta, T g, [[maybe_unused]] T *slot) {
    g += c.weight_decay * theta;
    if constexpr ((option & kMomentum) != 0) {
      T &b = slot[0];
      b = c.momentum * b + c.share * g;
      g = option & kNesterov ? c.inner_rate * g + c.momentum * b : b;
    }
    theta -= c.rate * g;
  }
};

// θ ← θ·(1 − lr·λ) − lr·sign(β₁m + (1 − β₁)g);  m ← β₂m + (1 − β₂)g;  sign(0) = 0.
// Reference: Chen et al. 2302.06675, program 1.
struct Lion {
  static constexpr std::string_view name = "Lion";
  struct Hyper {
    double beta1 = 0.9, beta2 = 0.99, weight_decay = 0.0;
  };
  static constexpr std::array<Field<Hyper>, 3> fields{
      {{"beta1", &Hyper::beta1}, {"beta2", &Hyper::beta2}, {"weight_decay", &Hyper::weight_decay}}};
  enum Option : unsigned { kVariants = 1 };
  static constexpr unsigned variant(const Hyper &) { return 0; }
  static constexpr Slots slots(unsigned) {
    Slots slots;
    slots.add("first_moment");
    return slots;
  }

  template <class T> struct Scalars {
    T rate, keep, beta1, one_minus_beta1, beta2, one_minus_beta2;
  };
  template <class T> static Scalars<T> prepare(const Hyper &h, double lr, std::int64_t) {
    return {T(lr),           T(1.0 - lr * h.weight_decay), T(h.beta1), T(1.0 - h.beta1), T(h.beta2),
            T(1.0 - h.beta2)};
  }
  template <unsigned option, class T>
  static void step(const Scalars<T> &c, T &theta, T g, T *slot) {
    T &m = slot[0];
    const T u = c.beta1 * m + c.one_minus_beta1 * g;
    const T sign = u > T(0) ? T(1) : u < T(0) ? T(-1) : u; // 0 and NaN stay what they are
    theta = c.keep * theta - c.rate * sign;
    m = c.beta2 * m + c.one_minus_beta2 * g;
  }
};

using MomentumRules = std::tuple<SGD, Lion>;

} // namespace unstuck::optim
