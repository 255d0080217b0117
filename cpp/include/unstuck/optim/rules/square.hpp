// Rules that divide the gradient by a root of its squares: Adagrad, RMSProp, RMSPropWarmup.
#pragma once
#include <algorithm>

#include "unstuck/optim/rules/rule.hpp"

namespace unstuck::optim {

// g ← g + λθ;  s ← s + g², starting at initial_accumulator;  r = √s, in the mean form r = √(s/t);
// θ ← θ − lr/(1 + (t − 1)·lr_decay)·g/(r + ε).   Reference: torch.optim.Adagrad (sum form).
struct Adagrad {
  static constexpr std::string_view name = "Adagrad";
  struct Hyper {
    double form = 0.0, lr_decay = 0.0, eps = 1e-10, weight_decay = 0.0, initial_accumulator = 0.0;
  };
  static constexpr std::array<Field<Hyper>, 5> fields{
      {{"form", &Hyper::form},
       {"lr_decay", &Hyper::lr_decay},
       {"eps", &Hyper::eps},
       {"weight_decay", &Hyper::weight_decay},
       {"initial_accumulator", &Hyper::initial_accumulator}}};
  static constexpr double kSum = 0, kMean = 1;
  enum Option : unsigned { kVariants = 1 };
  static constexpr unsigned variant(const Hyper &) { return 0; }
  static constexpr Slots slots(unsigned) {
    Slots slots;
    slots.add("square_sum", true);
    return slots;
  }
  static constexpr double start(const Hyper &h, std::string_view) { return h.initial_accumulator; }

  template <class T> struct Scalars {
    T rate, eps, weight_decay;
  };
  // in the mean form g/(√(s/t) + ε) = √t·g/(√s + ε√t)
  template <class T> static Scalars<T> prepare(const Hyper &h, double lr, std::int64_t t) {
    const double root = h.form == kMean ? std::sqrt(static_cast<double>(t)) : 1.0;
    const double rate = lr / (1.0 + static_cast<double>(t - 1) * h.lr_decay);
    return {T(rate * root), T(h.eps * root), T(h.weight_decay)};
  }
  template <unsigned option, class T>
  static void step(const Scalars<T> &c, T &theta, T g, T *slot) {
    g += c.weight_decay * theta;
    T &s = slot[0];
    s += g * g;
    theta -= c.rate * ratio(g, std::sqrt(s) + c.eps);
  }
};

// g ← g + λθ;  s ← αs + (1 − α)g², starting at 0, at 1, or (first) with s = g² after the first
// update;  q = s, centred q = max(s − ḡ², 0) with ḡ ← αḡ + (1 − α)g;  r = √q + ε, or √(q + ε)
// inside;  d = g/r, with momentum b ← μb + g/r, d = b;  θ ← θ − lr·d, or with lr_in_buffer
// b ← μb + lr·g/r, θ ← θ − b.   Reference: torch.optim.RMSprop, which lacks the clamp and gives NaN
// where rounding makes s − ḡ² negative; timm's RMSpropTF for inside, one and lr_in_buffer.
struct RMSProp {
  static constexpr std::string_view name = "RMSProp";
  struct Hyper {
    double alpha = 0.99, eps = 1e-8, weight_decay = 0.0, momentum = 0.0, centered = 0.0,
           initial = 0.0, eps_inside = 0.0, lr_in_buffer = 0.0;
  };
  static constexpr std::array<Field<Hyper>, 8> fields{{{"alpha", &Hyper::alpha},
                                                       {"eps", &Hyper::eps},
                                                       {"weight_decay", &Hyper::weight_decay},
                                                       {"momentum", &Hyper::momentum},
                                                       {"centered", &Hyper::centered},
                                                       {"initial", &Hyper::initial},
                                                       {"eps_inside", &Hyper::eps_inside},
                                                       {"lr_in_buffer", &Hyper::lr_in_buffer}}};
  static constexpr double kZero = 0, kOne = 1, kFirst = 2;
  enum Option : unsigned { kMomentum = 1, kCentered = 2, kVariants = 4 };
  static constexpr unsigned variant(const Hyper &h) {
    return (h.momentum != 0.0 ? kMomentum : 0u) | (h.centered != 0.0 ? kCentered : 0u);
  }
  static constexpr Slots slots(unsigned option) {
    Slots slots;
    slots.add("square_average", true);
    if (option & kCentered)
      slots.add("gradient_average");
    if (option & kMomentum)
      slots.add("momentum_buffer");
    return slots;
  }
  static constexpr double start(const Hyper &h, std::string_view slot) {
    return slot == "square_average" && h.initial == kOne ? 1.0 : 0.0;
  }

  template <class T> struct Scalars {
    T inner_rate, rate, alpha, share, mean_share, eps_inside, eps, weight_decay, momentum;
  };
  template <class T> static Scalars<T> prepare(const Hyper &h, double lr, std::int64_t t) {
    const bool in_buffer = h.lr_in_buffer != 0.0 && h.momentum != 0.0;
    const bool inside = h.eps_inside != 0.0;
    const bool first = h.initial == kFirst && t == 1; // s is 0, so only its new share counts
    return {T(in_buffer ? lr : 1.0),        T(in_buffer ? 1.0 : lr), T(h.alpha),
            T(first ? 1.0 : 1.0 - h.alpha), T(1.0 - h.alpha),        T(inside ? h.eps : 0.0),
            T(inside ? 0.0 : h.eps),        T(h.weight_decay),       T(h.momentum)};
  }
  template <unsigned option, class T>
  static void step(const Scalars<T> &c, T &theta, T g, T *slot) {
    g += c.weight_decay * theta;
    T &s = slot[0];
    s = c.alpha * s + c.share * (g * g);
    T square = s;
    if constexpr ((option & kCentered) != 0) {
      T &average = slot[1];
      average = c.alpha * average + c.mean_share * g;
      const T variance = s - average * average;
      square = variance < T(0) ? T(0) : variance;
    }
    T d = ratio(g, std::sqrt(square + c.eps_inside) + c.eps);
    if constexpr ((option & kMomentum) != 0) {
      T &b = slot[option & kCentered ? 2 : 1];
      b = c.momentum * b + c.inner_rate * d;
      d = b;
    }
    theta -= c.rate * d;
  }
};

// RMSProp that turns into SGD over the first epochs. g ← g + λθ;  s ← αs + (1 − α)g²;
// Δ ← μΔ − (p + (1 − p)·(η_r/lr)/(√s + ε))·g;  θ ← θ + lr·Δ. The share p of SGD at epoch e =
// (t − 1)/steps_per_epoch is ½·exp(2(e − c)/w) before the centre c, then ½ + (e − c)/w up to 1;
// literal: ½ + 2(e − c)/w until e = c + w/2, as the paper's formula is written, which passes 1.
// The buffer holds −Δ.   Reference: Akiba et al. 1711.04325, section 2.
struct RMSPropWarmup {
  static constexpr std::string_view name = "RMSPropWarmup";
  struct Hyper {
    double momentum = 0.9, alpha = 0.99, eps = 1e-8, weight_decay = 0.0, rms_rate = 3e-4,
           center = 10.0, width = 5.0, steps_per_epoch = 1.0, literal = 0.0;
  };
  static constexpr std::array<Field<Hyper>, 9> fields{{{"momentum", &Hyper::momentum},
                                                       {"alpha", &Hyper::alpha},
                                                       {"eps", &Hyper::eps},
                                                       {"weight_decay", &Hyper::weight_decay},
                                                       {"rms_rate", &Hyper::rms_rate},
                                                       {"center", &Hyper::center},
                                                       {"width", &Hyper::width},
                                                       {"steps_per_epoch", &Hyper::steps_per_epoch},
                                                       {"literal", &Hyper::literal}}};
  enum Option : unsigned { kVariants = 1 };
  static constexpr unsigned variant(const Hyper &) { return 0; }
  static constexpr Slots slots(unsigned) {
    Slots slots;
    slots.add("square_average", true);
    slots.add("momentum_buffer");
    return slots;
  }
  static double sgd_share(const Hyper &h, std::int64_t t) {
    const double epoch = static_cast<double>(t - 1) / h.steps_per_epoch;
    const double late = (epoch - h.center) / h.width;
    if (late < 0.0)
      return 0.5 * std::exp(2.0 * late);
    if (h.literal != 0.0)
      return late < 0.5 ? 0.5 + 2.0 * late : 1.0;
    return std::min(0.5 + late, 1.0);
  }

  template <class T> struct Scalars {
    T rate, momentum, alpha, one_minus_alpha, eps, weight_decay, sgd, rms;
  };
  template <class T> static Scalars<T> prepare(const Hyper &h, double lr, std::int64_t t) {
    const double share = sgd_share(h, t);
    const double rms = lr > 0.0 ? (1.0 - share) * h.rms_rate / lr : 0.0;
    return {T(lr),    T(h.momentum),     T(h.alpha), T(1.0 - h.alpha),
            T(h.eps), T(h.weight_decay), T(share),   T(rms)};
  }
  template <unsigned option, class T>
  static void step(const Scalars<T> &c, T &theta, T g, T *slot) {
    g += c.weight_decay * theta;
    T &s = slot[0], &b = slot[1];
    s = c.alpha * s + c.one_minus_alpha * (g * g);
    b = c.momentum * b + (c.sgd * g + c.rms * ratio(g, std::sqrt(s) + c.eps));
    theta -= c.rate * b;
  }
};

using SquareRules = std::tuple<Adagrad, RMSProp, RMSPropWarmup>;

} // namespace unstuck::optim
