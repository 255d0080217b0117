// Activations h = φ(z): value, slope φ'(z) and bend φ''(z), elementwise and vectorised through
// Eigen.
#include <Eigen/Core>
#include <cmath>
#include <numbers>

#include "unstuck/error.hpp"
#include "unstuck/nn/layer.hpp"

namespace unstuck::nn {
namespace {

template <class T> using In = Eigen::Map<const Eigen::Array<T, Eigen::Dynamic, 1>>;
template <class T> using Out = Eigen::Map<Eigen::Array<T, Eigen::Dynamic, 1>>;

// Each φ gives value(z) → h, slope(z, h) → φ', bend(z, h, slope) → φ''. `curved` false: φ'' = 0
// everywhere. Comparisons are written so that a NaN in z comes out as NaN.
struct Identity {
  static constexpr bool curved = false;
  template <class T> void value(In<T> z, Out<T> h) const { h = z; }
  template <class T> void slope(In<T> z, In<T>, Out<T> s) const { s = z * T(0) + T(1); }
};

struct ReLU {
  static constexpr bool curved = false;
  template <class T> void value(In<T> z, Out<T> h) const { h = (z <= T(0)).select(T(0), z); }
  template <class T> void slope(In<T> z, In<T>, Out<T> s) const {
    for (Eigen::Index i = 0; i < z.size(); ++i)
      s[i] = z[i] <= T(0) ? T(0) : T(1);
  }
};

struct LeakyReLU {
  static constexpr bool curved = false;
  double negative_slope;
  template <class T> void value(In<T> z, Out<T> h) const {
    h = (z <= T(0)).select(T(negative_slope) * z, z);
  }
  template <class T> void slope(In<T> z, In<T>, Out<T> s) const {
    for (Eigen::Index i = 0; i < z.size(); ++i)
      s[i] = z[i] <= T(0) ? T(negative_slope) : T(1);
  }
};

// φ = z for z > 0, α(eᶻ − 1) else
struct ELU {
  static constexpr bool curved = true;
  double alpha;
  template <class T> void value(In<T> z, Out<T> h) const {
    h = z.unaryExpr([this](T x) { return x > T(0) ? x : T(alpha) * std::expm1(x); });
  }
  template <class T> void slope(In<T> z, In<T> h, Out<T> s) const {
    s = (z <= T(0)).select(h + T(alpha), T(1));
  }
  template <class T> auto bend(In<T> z, In<T> h, In<T>) const {
    return (z <= T(0)).select(h + T(alpha), T(0));
  }
};

struct Tanh {
  static constexpr bool curved = true;
  template <class T> void value(In<T> z, Out<T> h) const { h = z.tanh(); }
  template <class T> void slope(In<T>, In<T> h, Out<T> s) const { s = T(1) - h * h; }
  template <class T> auto bend(In<T>, In<T> h, In<T> s) const { return T(-2) * h * s; }
};

struct Sigmoid {
  static constexpr bool curved = true;
  template <class T> void value(In<T> z, Out<T> h) const { h = T(1) / (T(1) + (-z).exp()); }
  template <class T> void slope(In<T>, In<T> h, Out<T> s) const { s = h * (T(1) - h); }
  template <class T> auto bend(In<T>, In<T> h, In<T> s) const { return s * (T(1) - T(2) * h); }
};

// φ = z·σ(z), φ' = σ + z·σ(1−σ), φ'' = σ(1−σ)(2 + z(1−2σ))
struct SiLU {
  static constexpr bool curved = true;
  template <class T> static auto sigma(In<T> z) { return T(1) / (T(1) + (-z).exp()); }
  template <class T> void value(In<T> z, Out<T> h) const { h = z * sigma<T>(z); }
  template <class T> void slope(In<T> z, In<T> h, Out<T> s) const {
    s = sigma<T>(z);
    s += h * (T(1) - s);
  }
  template <class T> Eigen::Array<T, Eigen::Dynamic, 1> bend(In<T> z, In<T>, In<T>) const {
    const Eigen::Array<T, Eigen::Dynamic, 1> p = sigma<T>(z);
    return p * (T(1) - p) * (T(2) + z * (T(1) - T(2) * p));
  }
};

// φ = ln(1 + e^{βz})/β, and z itself where βz is above the threshold (as torch.nn.Softplus)
struct Softplus {
  static constexpr bool curved = true;
  double beta, threshold;
  template <class T> void value(In<T> z, Out<T> h) const {
    h = (T(beta) * z).unaryExpr([this](T x) {
      return x > T(threshold) ? x / T(beta) : std::log1p(std::exp(x)) / T(beta);
    });
  }
  template <class T> void slope(In<T> z, In<T>, Out<T> s) const {
    s = (T(beta) * z > T(threshold)).select(T(0) * z + T(1), T(1) / (T(1) + (T(-beta) * z).exp()));
  }
  template <class T> auto bend(In<T> z, In<T>, In<T> s) const {
    return (T(beta) * z > T(threshold)).select(T(0) * z, T(beta) * s * (T(1) - s));
  }
};

// φ = zΦ(z), φ' = Φ + z·ϕ(z), φ'' = ϕ(z)(2 − z²), ϕ the normal density
struct GELU {
  static constexpr bool curved = true;
  template <class T> static T density(T x) {
    return std::exp(T(-0.5) * x * x) * T(std::numbers::inv_sqrtpi / std::numbers::sqrt2);
  }
  template <class T> static T cumulative(T x) {
    return T(0.5) * (T(1) + std::erf(x * T(1 / std::numbers::sqrt2)));
  }
  template <class T> void value(In<T> z, Out<T> h) const {
    h = z.unaryExpr([](T x) { return x * cumulative(x); });
  }
  template <class T> void slope(In<T> z, In<T>, Out<T> s) const {
    s = z.unaryExpr([](T x) { return cumulative(x) + x * density(x); });
  }
  template <class T> auto bend(In<T> z, In<T>, In<T>) const {
    return z.unaryExpr([](T x) { return density(x) * (T(2) - x * x); });
  }
};

// φ = ½z(1 + t), t = tanh(u), u = c(z + kz³), c = √(2/π), k = 0.044715
struct GELUTanh {
  static constexpr bool curved = true;
  static constexpr double c = 2.0 * std::numbers::inv_sqrtpi / std::numbers::sqrt2, k = 0.044715;
  template <class T> static auto t(In<T> z) { return (T(c) * (z + T(k) * z.cube())).tanh(); }
  template <class T> void value(In<T> z, Out<T> h) const { h = T(0.5) * z * (T(1) + t<T>(z)); }
  template <class T> void slope(In<T> z, In<T>, Out<T> s) const {
    s = t<T>(z);
    s = T(0.5) * (T(1) + s) + T(0.5) * z * (T(1) - s * s) * (T(c) * (T(1) + T(3 * k) * z.square()));
  }
  template <class T> Eigen::Array<T, Eigen::Dynamic, 1> bend(In<T> z, In<T>, In<T>) const {
    const Eigen::Array<T, Eigen::Dynamic, 1> h = t<T>(z),
                                             first = T(c) * (T(1) + T(3 * k) * z.square());
    // t' = (1−t²)u', t'' = (1−t²)(u'' − 2t·u'²), φ'' = t' + ½z·t''
    return (T(1) - h * h) * (first + T(0.5) * z * (T(6 * c * k) * z - T(2) * h * first.square()));
  }
};

template <class T, class Phi> class Activation final : public Layer<T> {
public:
  Activation(std::int64_t width, Phi phi) : Layer<T>(width, width), phi_(phi) {}

  std::int64_t slope_per_row() const override { return this->outputs(); }
  std::int64_t bend_per_row() const override { return Phi::curved ? this->outputs() : 0; }

  void forward(Team team, std::int64_t rows, const T *, const T *, const T *a, T *h,
               T *slope) const override {
    team.elementwise(rows * this->outputs(), [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t n = end - begin;
      phi_.template value<T>(In<T>(a + begin, n), Out<T>(h + begin, n));
      if (slope)
        phi_.template slope<T>(In<T>(a + begin, n), In<T>(h + begin, n), Out<T>(slope + begin, n));
    });
  }

  void backward(Team team, std::int64_t rows, const T *, const T *, const T *slope, const T *delta,
                T *d_a, T *) const override {
    if (d_a)
      multiply(team, rows, slope, delta, d_a);
  }

  void keep_bend(Team team, std::int64_t rows, const T *a, const T *h, const T *slope,
                 const T *delta, T *bend) const override {
    if constexpr (Phi::curved) {
      team.elementwise(rows * this->outputs(), [&](std::int64_t begin, std::int64_t end) {
        const std::int64_t n = end - begin;
        Out<T>(bend + begin, n) = phi_.template bend<T>(In<T>(a + begin, n), In<T>(h + begin, n),
                                                        In<T>(slope + begin, n)) *
                                  In<T>(delta + begin, n);
      });
    }
  }

  void tangent_forward(Team team, std::int64_t rows, const T *, const T *, const T *,
                       const T *slope, const T *r_a, T *r_h) const override {
    multiply(team, rows, slope, r_a, r_h);
  }

  // R δ_z = φ'·Rδ_h + φ''·δ_h·Rz
  void tangent_backward(Team team, std::int64_t rows, const T *, const T *, const T *,
                        const T *slope, const T *bend, const T *, const T *r_a, const T *r_delta,
                        T *r_d_a, T *) const override {
    if (!r_d_a)
      return;
    if constexpr (!Phi::curved) {
      multiply(team, rows, slope, r_delta, r_d_a);
    } else {
      team.elementwise(rows * this->outputs(), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i)
          r_d_a[i] = slope[i] * r_delta[i] + bend[i] * r_a[i];
      });
    }
  }

private:
  void multiply(Team team, std::int64_t rows, const T *x, const T *y, T *z) const {
    team.elementwise(rows * this->outputs(), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        z[i] = x[i] * y[i];
    });
  }

  Phi phi_;
};

template <class T, class Phi> std::unique_ptr<Layer<T>> make(std::int64_t width, Phi phi) {
  return std::make_unique<Activation<T, Phi>>(width, phi);
}

} // namespace

std::vector<std::string> activation_kinds() {
  return {"ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Tanh", "Sigmoid", "Softplus", "Identity"};
}

template <class T>
std::unique_ptr<Layer<T>> make_activation(const LayerSpec &spec, std::int64_t inputs) {
  const std::string &kind = spec.kind;
  if (kind == "ReLU")
    return make<T>(inputs, ReLU{});
  if (kind == "LeakyReLU")
    return make<T>(inputs, LeakyReLU{spec.option("negative_slope")});
  if (kind == "ELU")
    return make<T>(inputs, ELU{spec.option("alpha")});
  if (kind == "GELU" && spec.option("tanh") != 0.0)
    return make<T>(inputs, GELUTanh{});
  if (kind == "GELU")
    return make<T>(inputs, GELU{});
  if (kind == "SiLU")
    return make<T>(inputs, SiLU{});
  if (kind == "Tanh")
    return make<T>(inputs, Tanh{});
  if (kind == "Sigmoid")
    return make<T>(inputs, Sigmoid{});
  if (kind == "Softplus")
    return make<T>(inputs, Softplus{spec.option("beta"), spec.option("threshold")});
  if (kind == "Identity")
    return make<T>(inputs, Identity{});
  return nullptr;
}

template std::unique_ptr<Layer<float>> make_activation<float>(const LayerSpec &, std::int64_t);
template std::unique_ptr<Layer<double>> make_activation<double>(const LayerSpec &, std::int64_t);

} // namespace unstuck::nn
