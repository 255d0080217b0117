// Adam and its family: a moving mean of the gradient over a root of its squares.
#pragma once
#include "unstuck/optim/rules/rule.hpp"

namespace unstuck::optim {

constexpr Slots two_moments() {
  Slots slots;
  slots.add("first_moment");
  slots.add("second_moment", true);
  return slots;
}

// g ← g + λθ (Adam) or θ ← θ·(1 − lr·λ) (AdamW);  m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;
// AMSGrad: w ← max(w, v), else w = v;  θ ← θ − lr·m̂/(√ŵ + ε) with m̂ = m/(1 − β₁ᵗ),
// ŵ = w/(1 − β₂ᵗ), computed with one division as a·m/(√w + ε√(1 − β₂ᵗ)),
// a = lr·√(1 − β₂ᵗ)/(1 − β₁ᵗ).   Reference: torch.optim.Adam, AdamW; Kingma & Ba 1412.6980;
// Loshchilov & Hutter 1711.05101.
template <bool decoupled> struct AdamBase {
  struct Hyper {
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.0, amsgrad = 0.0;
  };
  static constexpr std::array<Field<Hyper>, 5> fields{{{"beta1", &Hyper::beta1},
                                                       {"beta2", &Hyper::beta2},
                                                       {"eps", &Hyper::eps},
                                                       {"weight_decay", &Hyper::weight_decay},
                                                       {"amsgrad", &Hyper::amsgrad}}};
  enum Option : unsigned { kAmsgrad = 1, kDecay = 2, kVariants = 4 };
  static constexpr unsigned variant(const Hyper &h) {
    return (h.amsgrad != 0.0 ? kAmsgrad : 0u) | (h.weight_decay != 0.0 ? kDecay : 0u);
  }
  static constexpr Slots slots(unsigned option) {
    Slots slots = two_moments();
    if (option & kAmsgrad)
      slots.add("largest_second_moment", true);
    return slots;
  }

  template <class T> struct Scalars {
    T rate, eps, beta1, one_minus_beta1, beta2, one_minus_beta2, weight_decay, keep;
  };
  template <class T> static Scalars<T> prepare(const Hyper &h, double lr, std::int64_t t) {
    const double root2 = std::sqrt(bias_correction(h.beta2, t));
    return {T(lr * root2 / bias_correction(h.beta1, t)),
            T(h.eps * root2),
            T(h.beta1),
            T(1.0 - h.beta1),
            T(h.beta2),
            T(1.0 - h.beta2),
            T(decoupled ? 0.0 : h.weight_decay),
            T(decoupled ? 1.0 - lr * h.weight_decay : 1.0)};
  }
  template <unsigned option, class T>
  static void gather(const Scalars<T> &c, T theta, T g, T *slot) {
    if constexpr (!decoupled && (option & kDecay))
      g += c.weight_decay * theta;
    T &m = slot[0], &v = slot[1];
    m = c.beta1 * m + c.one_minus_beta1 * g;
    v = c.beta2 * v + c.one_minus_beta2 * (g * g);
    if constexpr ((option & kAmsgrad) != 0)
      slot[2] = larger(slot[2], v);
  }
  template <unsigned option, class T>
  static void move(const Scalars<T> &c, T &theta, const T *slot) {
    const T d = c.rate * ratio(slot[0], std::sqrt(slot[option & kAmsgrad ? 2 : 1]) + c.eps);
    theta = (decoupled && (option & kDecay) ? c.keep * theta : theta) - d;
  }
};

struct Adam : AdamBase<false> {
  static constexpr std::string_view name = "Adam";
};

struct AdamW : AdamBase<true> {
  static constexpr std::string_view name = "AdamW";
  struct Hyper : AdamBase::Hyper {
    constexpr Hyper() { weight_decay = 1e-2; }
  };
};

// m, v as Adam;  μₜ = β₁(1 − ½·0.96^(tψ));  θ ← θ − lr·((1 − μₜ)/(1 − Πₜ)·g + μₜ₊₁/(1 − Πₜ₊₁)·m) /
// (√v̂ + ε), Πₜ = μ₁·…·μₜ with the β₁ and ψ of this update.
// Reference: torch.optim.NAdam, which keeps Πₜ in float32; Dozat 2016.
struct NAdam {
  static constexpr std::string_view name = "NAdam";
  struct Hyper {
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.0, momentum_decay = 4e-3,
           decoupled_weight_decay = 0.0;
  };
  static constexpr std::array<Field<Hyper>, 6> fields{
      {{"beta1", &Hyper::beta1},
       {"beta2", &Hyper::beta2},
       {"eps", &Hyper::eps},
       {"weight_decay", &Hyper::weight_decay},
       {"momentum_decay", &Hyper::momentum_decay},
       {"decoupled_weight_decay", &Hyper::decoupled_weight_decay}}};
  enum Option : unsigned { kVariants = 1 };
  static constexpr unsigned variant(const Hyper &) { return 0; }
  static constexpr Slots slots(unsigned) { return two_moments(); }

  static double momentum_at(const Hyper &h, std::int64_t t) {
    return h.beta1 * (1.0 - 0.5 * std::pow(0.96, static_cast<double>(t) * h.momentum_decay));
  }
  // Πₜ; below 1e-18, where 1 − Π is 1 in double, the rest is left out
  static double momentum_product(const Hyper &h, std::int64_t t) {
    double product = 1.0;
    for (std::int64_t k = 1; k <= t && product > 1e-18; ++k)
      product *= momentum_at(h, k);
    return product;
  }

  template <class T> struct Scalars {
    T of_gradient, of_mean, eps, beta1, one_minus_beta1, beta2, one_minus_beta2, weight_decay, keep;
  };
  template <class T> static Scalars<T> prepare(const Hyper &h, double lr, std::int64_t t) {
    const double root2 = std::sqrt(bias_correction(h.beta2, t));
    const double mu = momentum_at(h, t), next = momentum_at(h, t + 1);
    const double product = momentum_product(h, t);
    const bool decoupled = h.decoupled_weight_decay != 0.0;
    return {T(lr * root2 * (1.0 - mu) / (1.0 - product)),
            T(lr * root2 * next / (1.0 - product * next)),
            T(h.eps * root2),
            T(h.beta1),
            T(1.0 - h.beta1),
            T(h.beta2),
            T(1.0 - h.beta2),
            T(decoupled ? 0.0 : h.weight_decay),
            T(decoupled ? 1.0 - lr * h.weight_decay : 1.0)};
  }
  template <unsigned option, class T>
  static void step(const Scalars<T> &c, T &theta, T g, T *slot) {
    g += c.weight_decay * theta;
    T &m = slot[0], &v = slot[1];
    m = c.beta1 * m + c.one_minus_beta1 * g;
    v = c.beta2 * v + c.one_minus_beta2 * (g * g);
    theta = c.keep * theta - ratio(c.of_gradient * g + c.of_mean * m, std::sqrt(v) + c.eps);
  }
};

// g ← g + λθ;  m ← β₁m + (1 − β₁)g;  u ← max(β₂u, |g| + ε);  θ ← θ − lr/(1 − β₁ᵗ)·m/u.
// Reference: torch.optim.Adamax; Kingma & Ba 1412.6980, section 7.1.
struct AdaMax {
  static constexpr std::string_view name = "AdaMax";
  struct Hyper {
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.0;
  };
  static constexpr std::array<Field<Hyper>, 4> fields{{{"beta1", &Hyper::beta1},
                                                       {"beta2", &Hyper::beta2},
                                                       {"eps", &Hyper::eps},
                                                       {"weight_decay", &Hyper::weight_decay}}};
  enum Option : unsigned { kVariants = 1 };
  static constexpr unsigned variant(const Hyper &) { return 0; }
  static constexpr Slots slots(unsigned) {
    Slots slots;
    slots.add("first_moment");
    slots.add("infinity_norm", true);
    return slots;
  }

  template <class T> struct Scalars {
    T rate, eps, beta1, one_minus_beta1, beta2, weight_decay;
  };
  template <class T> static Scalars<T> prepare(const Hyper &h, double lr, std::int64_t t) {
    return {T(lr / bias_correction(h.beta1, t)),
            T(h.eps),
            T(h.beta1),
            T(1.0 - h.beta1),
            T(h.beta2),
            T(h.weight_decay)};
  }
  template <unsigned option, class T>
  static void step(const Scalars<T> &c, T &theta, T g, T *slot) {
    g += c.weight_decay * theta;
    T &m = slot[0], &u = slot[1];
    m = c.beta1 * m + c.one_minus_beta1 * g;
    u = larger(c.beta2 * u, std::abs(g) + c.eps);
    theta -= c.rate * ratio(m, u);
  }
};

// m, v as Adam;  ρ∞ = 2/(1 − β₂) − 1, ρ = ρ∞ − 2tβ₂ᵗ/(1 − β₂ᵗ).  ρ > threshold:
// θ ← θ − lr·m̂·r·√(1 − β₂ᵗ)/(√v + ε), r = √((ρ − 4)(ρ − 2)ρ∞/((ρ∞ − 4)(ρ∞ − 2)ρ));
// before: θ ← θ − lr·m̂ (early sgd) or θ unchanged, its decoupled decay included (early skip).
// Reference: torch.optim.RAdam (threshold 5, sgd); Liu et al. 1908.03265 (threshold 4).
struct RAdam {
  static constexpr std::string_view name = "RAdam";
  struct Hyper {
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.0, decoupled_weight_decay = 0.0,
           threshold = 5.0, early = 0.0;
  };
  static constexpr std::array<Field<Hyper>, 7> fields{
      {{"beta1", &Hyper::beta1},
       {"beta2", &Hyper::beta2},
       {"eps", &Hyper::eps},
       {"weight_decay", &Hyper::weight_decay},
       {"decoupled_weight_decay", &Hyper::decoupled_weight_decay},
       {"threshold", &Hyper::threshold},
       {"early", &Hyper::early}}};
  static constexpr double kSgd = 0, kSkip = 1;
  enum Option : unsigned { kVariants = 1 };
  static constexpr unsigned variant(const Hyper &) { return 0; }
  static constexpr Slots slots(unsigned) { return two_moments(); }

  // r, and 0 where ρ does not exceed the threshold
  static double rectification(double beta2, double threshold, std::int64_t t) {
    const double longest = 2.0 / (1.0 - beta2) - 1.0;
    const double power = std::pow(beta2, static_cast<double>(t));
    const double rho = longest - 2.0 * static_cast<double>(t) * power / (1.0 - power);
    if (!(rho > threshold))
      return 0.0;
    return std::sqrt((rho - 4.0) * (rho - 2.0) * longest /
                     ((longest - 4.0) * (longest - 2.0) * rho));
  }

  template <class T> struct Scalars {
    T rectified, plain, eps, beta1, one_minus_beta1, beta2, one_minus_beta2, weight_decay, keep;
  };
  template <class T> static Scalars<T> prepare(const Hyper &h, double lr, std::int64_t t) {
    const double r = rectification(h.beta2, h.threshold, t);
    const double rate = lr / bias_correction(h.beta1, t);
    const bool moves = r > 0.0 || h.early == kSgd, decoupled = h.decoupled_weight_decay != 0.0;
    return {T(rate * r * std::sqrt(bias_correction(h.beta2, t))),
            T(r == 0.0 && moves ? rate : 0.0),
            T(h.eps),
            T(h.beta1),
            T(1.0 - h.beta1),
            T(h.beta2),
            T(1.0 - h.beta2),
            T(decoupled ? 0.0 : h.weight_decay),
            T(decoupled && moves ? 1.0 - lr * h.weight_decay : 1.0)};
  }
  template <unsigned option, class T>
  static void gather(const Scalars<T> &c, T theta, T g, T *slot) {
    g += c.weight_decay * theta;
    T &m = slot[0], &v = slot[1];
    m = c.beta1 * m + c.one_minus_beta1 * g;
    v = c.beta2 * v + c.one_minus_beta2 * (g * g);
  }
  template <unsigned option, class T>
  static void move(const Scalars<T> &c, T &theta, const T *slot) {
    const T m = slot[0], v = slot[1];
    theta = c.keep * theta - (c.rectified * ratio(m, std::sqrt(v) + c.eps) + c.plain * m);
  }
};

// g ← g + λθ, or θ ← θ·(1 − lr·λ) decoupled;  m ← β₁m + (1 − β₁)g;
// s ← β₂s + (1 − β₂)(g − m)² + ε;  θ ← θ − lr·m̂/(√ŝ + ε), m̂ = m/(1 − β₁ᵗ), ŝ = s/(1 − β₂ᵗ).
// Reference: adabelief_pytorch.AdaBelief with rectify=False; Zhuang et al. 2010.07468.
struct AdaBelief {
  static constexpr std::string_view name = "AdaBelief";
  struct Hyper {
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-16, weight_decay = 0.0,
           decoupled_weight_decay = 1.0;
  };
  static constexpr std::array<Field<Hyper>, 5> fields{
      {{"beta1", &Hyper::beta1},
       {"beta2", &Hyper::beta2},
       {"eps", &Hyper::eps},
       {"weight_decay", &Hyper::weight_decay},
       {"decoupled_weight_decay", &Hyper::decoupled_weight_decay}}};
  enum Option : unsigned { kVariants = 1 };
  static constexpr unsigned variant(const Hyper &) { return 0; }
  static constexpr Slots slots(unsigned) {
    Slots slots;
    slots.add("first_moment");
    slots.add("variance", true);
    return slots;
  }

  template <class T> struct Scalars {
    T rate, inner_eps, eps, beta1, one_minus_beta1, beta2, one_minus_beta2, weight_decay, keep;
  };
  template <class T> static Scalars<T> prepare(const Hyper &h, double lr, std::int64_t t) {
    const double root2 = std::sqrt(bias_correction(h.beta2, t));
    const bool decoupled = h.decoupled_weight_decay != 0.0;
    return {T(lr * root2 / bias_correction(h.beta1, t)),
            T(h.eps),
            T(h.eps * root2),
            T(h.beta1),
            T(1.0 - h.beta1),
            T(h.beta2),
            T(1.0 - h.beta2),
            T(decoupled ? 0.0 : h.weight_decay),
            T(decoupled ? 1.0 - lr * h.weight_decay : 1.0)};
  }
  template <unsigned option, class T>
  static void gather(const Scalars<T> &c, T theta, T g, T *slot) {
    g += c.weight_decay * theta;
    T &m = slot[0], &s = slot[1];
    m = c.beta1 * m + c.one_minus_beta1 * g;
    const T residual = g - m;
    s = c.beta2 * s + c.one_minus_beta2 * (residual * residual) + c.inner_eps;
  }
  template <unsigned option, class T>
  static void move(const Scalars<T> &c, T &theta, const T *slot) {
    theta = c.keep * theta - c.rate * ratio(slot[0], std::sqrt(slot[1]) + c.eps);
  }
};

using AdamRules = std::tuple<Adam, AdamW, NAdam, AdaMax, RAdam, AdaBelief>;

} // namespace unstuck::optim
