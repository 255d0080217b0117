// Rules that scale each block's update by a trust ratio of norms: LARS (with LARC), LAMB.
#pragma once
#include <algorithm>

#include "unstuck/optim/rules/adam.hpp"
#include "unstuck/optim/rules/momentum.hpp"

namespace unstuck::optim {

// For each block q = c‖θ‖/(‖g‖ + λ‖θ‖ + ε), 1 where ‖θ‖ or ‖g‖ is 0; LARC (trust_clip):
// q ← min(q/lr, 1). Then SGD's momentum with the gradient q·(g + λθ). Without weight decay q = 1
// unless always_adapt.   Reference: timm.optim.Lars; You et al. 1708.03888.
struct LARS {
  static constexpr std::string_view name = "LARS";
  struct Hyper {
    double momentum = 0.0, dampening = 0.0, weight_decay = 0.0, nesterov = 0.0,
           trust_coefficient = 1e-3, eps = 1e-8, trust_clip = 0.0, always_adapt = 0.0;
  };
  static constexpr std::array<Field<Hyper>, 8> fields{
      {{"momentum", &Hyper::momentum},
       {"dampening", &Hyper::dampening},
       {"weight_decay", &Hyper::weight_decay},
       {"nesterov", &Hyper::nesterov},
       {"trust_coefficient", &Hyper::trust_coefficient},
       {"eps", &Hyper::eps},
       {"trust_clip", &Hyper::trust_clip},
       {"always_adapt", &Hyper::always_adapt}}};
  enum Option : unsigned { kMomentum = 1, kNesterov = 2, kVariants = 4 };
  static constexpr unsigned variant(const Hyper &h) {
    return h.momentum == 0.0 ? 0u : kMomentum | (h.nesterov != 0.0 ? kNesterov : 0u);
  }
  static constexpr Slots slots(unsigned option) { return SGD::slots(option); }

  template <class T> struct Scalars {
    T trust, weight_decay;
    SGD::Scalars<T> sgd;
  };
  template <class T> static Scalars<T> prepare(const Hyper &h, double lr, std::int64_t t) {
    const SGD::Hyper plain{h.momentum, h.dampening, 0.0, h.nesterov, 0.0, 0.0};
    return {T(1), T(h.weight_decay), SGD::prepare<T>(plain, lr, t)};
  }
  static bool adapts(const Hyper &h) { return h.weight_decay != 0.0 || h.always_adapt != 0.0; }
  static double trust(const Hyper &h, double lr, double theta, double gradient) {
    double q = 1.0;
    if (theta > 0.0 && gradient > 0.0)
      q = h.trust_coefficient * theta / (gradient + h.weight_decay * theta + h.eps);
    return h.trust_clip != 0.0 && lr > 0.0 ? std::min(q / lr, 1.0) : q;
  }
  static constexpr bool kMeasureWrites = false;
  template <unsigned option, class T> static T measure(const Scalars<T> &, T, T g, T *) {
    return g;
  }
  template <unsigned option, class T>
  static void step(const Scalars<T> &c, T &theta, T g, T *slot) {
    SGD::step<option>(c.sgd, theta, c.trust * (g + c.weight_decay * theta), slot);
  }
};

// m ← β₁m + β₃g, β₃ = 1 − β₁, or 1 without grad_averaging;  v ← β₂v + (1 − β₂)g²;
// u = m̂/(√v̂ + ε) + λθ, without bias_correction m/(√v + ε) + λθ;  θ ← θ − lr·q·u for each block with
// q = φ(‖θ‖)/‖u‖, 1 where ‖u‖ or φ is 0, at most 1 with trust_clip; φ(x) = max(x, norm_floor), then
// min(·, norm_limit) where that is not 0. Without weight decay q = 1 unless always_adapt.
// Reference: timm.optim.Lamb (its global clip of the gradient is `clip_norm` of the step); You et
// al. 1904.00962.
struct LAMB {
  static constexpr std::string_view name = "LAMB";
  struct Hyper {
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-6, weight_decay = 1e-2, bias_correction = 1.0,
           grad_averaging = 1.0, norm_limit = 0.0, trust_clip = 0.0, always_adapt = 0.0,
           norm_floor = 0.0;
  };
  static constexpr std::array<Field<Hyper>, 10> fields{
      {{"beta1", &Hyper::beta1},
       {"beta2", &Hyper::beta2},
       {"eps", &Hyper::eps},
       {"weight_decay", &Hyper::weight_decay},
       {"bias_correction", &Hyper::bias_correction},
       {"grad_averaging", &Hyper::grad_averaging},
       {"norm_limit", &Hyper::norm_limit},
       {"trust_clip", &Hyper::trust_clip},
       {"always_adapt", &Hyper::always_adapt},
       {"norm_floor", &Hyper::norm_floor}}};
  enum Option : unsigned { kVariants = 1 };
  static constexpr unsigned variant(const Hyper &) { return 0; }
  static constexpr Slots slots(unsigned) { return two_moments(); }

  template <class T> struct Scalars {
    T trust, rate, scale, eps, beta1, share1, beta2, one_minus_beta2, weight_decay;
  };
  // m̂/(√v̂ + ε) = scale·m/(√v + ε√(1 − β₂ᵗ))
  template <class T> static Scalars<T> prepare(const Hyper &h, double lr, std::int64_t t) {
    const bool correct = h.bias_correction != 0.0;
    const double root2 = correct ? std::sqrt(optim::bias_correction(h.beta2, t)) : 1.0;
    const double mean = correct ? optim::bias_correction(h.beta1, t) : 1.0;
    return {T(1),
            T(lr),
            T(root2 / mean),
            T(h.eps * root2),
            T(h.beta1),
            T(h.grad_averaging != 0.0 ? 1.0 - h.beta1 : 1.0),
            T(h.beta2),
            T(1.0 - h.beta2),
            T(h.weight_decay)};
  }
  static bool adapts(const Hyper &h) { return h.weight_decay != 0.0 || h.always_adapt != 0.0; }
  static double trust(const Hyper &h, double, double theta, double update) {
    const double least = std::max(theta, h.norm_floor);
    const double phi = h.norm_limit > 0.0 ? std::min(least, h.norm_limit) : least;
    const double q = phi > 0.0 && update > 0.0 ? phi / update : 1.0;
    return h.trust_clip != 0.0 ? std::min(q, 1.0) : q;
  }
  static constexpr bool kMeasureWrites = true;
  template <class T> static T update(const Scalars<T> &c, T theta, const T *slot) {
    return c.scale * ratio(slot[0], std::sqrt(slot[1]) + c.eps) + c.weight_decay * theta;
  }
  template <unsigned option, class T> static T measure(const Scalars<T> &c, T theta, T g, T *slot) {
    slot[0] = c.beta1 * slot[0] + c.share1 * g;
    slot[1] = c.beta2 * slot[1] + c.one_minus_beta2 * (g * g);
    return update(c, theta, slot);
  }
  template <class T> static void advance(const Scalars<T> &c, T &theta, T u) {
    theta -= c.rate * (c.trust * u);
  }
  template <unsigned option, class T>
  static void step(const Scalars<T> &c, T &theta, T, const T *slot) {
    advance(c, theta, update(c, theta, slot));
  }
};

using LayerwiseRules = std::tuple<LARS, LAMB>;

} // namespace unstuck::optim
