// Any momentum over any size of the gradient: the lecture's θ ← θ − lr·m/σ put together by choice.
#pragma once
#include "unstuck/optim/rules/rule.hpp"

namespace unstuck::optim {

// g ← g + λθ, or θ ← θ·(1 − lr·λ) decoupled;  θ ← θ − lr·m/(σ + ε).
// m: none g; heavy b, b ← βb + g; nesterov g + βb; average a/(1 − βᵗ), a ← βa + (1 − β)g.
// σ: none 1 (ε unused); sum √Σg²; mean √(Σg²/t); moving √(s/(1 − αᵗ)), s ← αs + (1 − α)g²; largest
// u ← max(αu, |g|). Without `correct`, average and moving are not divided by 1 − βᵗ and 1 − αᵗ.
struct Composed {
  static constexpr std::string_view name = "Composed";
  struct Hyper {
    double momentum = 3.0, size = 3.0, beta = 0.9, alpha = 0.999, eps = 1e-8, weight_decay = 0.0,
           decoupled_weight_decay = 0.0, correct = 1.0;
  };
  static constexpr std::array<Field<Hyper>, 8> fields{
      {{"momentum", &Hyper::momentum},
       {"size", &Hyper::size},
       {"beta", &Hyper::beta},
       {"alpha", &Hyper::alpha},
       {"eps", &Hyper::eps},
       {"weight_decay", &Hyper::weight_decay},
       {"decoupled_weight_decay", &Hyper::decoupled_weight_decay},
       {"correct", &Hyper::correct}}};
  static constexpr double kNone = 0, kHeavy = 1, kNesterov = 2, kAverage = 3;    // momentum
  static constexpr double kUnit = 0, kSum = 1, kMean = 2, kMoving = 3, kMax = 4; // size
  enum Option : unsigned { kMomentum = 1, kSquares = 2, kLargest = 4, kVariants = 8 };
  static constexpr unsigned variant(const Hyper &h) {
    return (h.momentum != kNone ? kMomentum : 0u) | (h.size == kMax    ? kLargest
                                                     : h.size != kUnit ? kSquares
                                                                       : 0u);
  }
  static constexpr Slots slots(unsigned option) {
    Slots slots;
    if (option & kMomentum)
      slots.add("momentum_buffer");
    if (option & kSquares)
      slots.add("squares", true);
    if (option & kLargest)
      slots.add("infinity_norm", true);
    return slots;
  }

  template <class T> struct Scalars {
    T rate, beta, share, of_gradient, of_buffer, alpha, square_share, root, eps, weight_decay, keep;
  };
  template <class T> static Scalars<T> prepare(const Hyper &h, double lr, std::int64_t t) {
    const bool average = h.momentum == kAverage, moving = h.size == kMoving;
    const bool correct = h.correct != 0.0, decoupled = h.decoupled_weight_decay != 0.0;
    const double mean = average && correct ? bias_correction(h.beta, t) : 1.0;
    const double count = h.size == kMean     ? static_cast<double>(t)
                         : moving && correct ? bias_correction(h.alpha, t)
                                             : 1.0;
    return {T(lr),
            T(h.beta),
            T(average ? 1.0 - h.beta : 1.0),
            T(h.momentum == kNesterov ? 1.0 : 0.0),
            T(h.momentum == kNesterov ? h.beta : 1.0 / mean),
            T(moving || h.size == kMax ? h.alpha : 1.0),
            T(moving ? 1.0 - h.alpha : 1.0),
            T(1.0 / std::sqrt(count)),
            T(h.eps),
            T(decoupled ? 0.0 : h.weight_decay),
            T(decoupled ? 1.0 - lr * h.weight_decay : 1.0)};
  }
  template <unsigned option, class T>
  static void step(const Scalars<T> &c, T &theta, T g, [[maybe_unused]] T *slot) {
    g += c.weight_decay * theta;
    T d = g;
    if constexpr ((option & kMomentum) != 0) {
      slot[0] = c.beta * slot[0] + c.share * g;
      d = c.of_gradient * g + c.of_buffer * slot[0];
    }
    if constexpr ((option & (kSquares | kLargest)) != 0) {
      T &s = slot[option & kMomentum ? 1 : 0];
      s = option & kLargest ? larger(c.alpha * s, std::abs(g))
                            : c.alpha * s + c.square_share * (g * g);
      d = ratio(d, c.root * (option & kLargest ? s : std::sqrt(s)) + c.eps);
    }
    theta = c.keep * theta - c.rate * d;
  }
};

using ComposedRules = std::tuple<Composed>;

} // namespace unstuck::optim
