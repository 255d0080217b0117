// Linear layer h = a·Wᵀ + b with W (out × in) as in torch.nn.Linear, and its exact second-order
// passes.
#include "unstuck/error.hpp"
#include "unstuck/nn/gemm.hpp"
#include "unstuck/nn/layer.hpp"

namespace unstuck::nn {
namespace {

constexpr std::int64_t kTile =
    256; // side of an output tile: packing costs ~5 % of the product, 8 tiles for 1024×512

template <class T> class Linear final : public Layer<T> {
public:
  Linear(std::int64_t inputs, std::int64_t outputs, bool bias)
      : Layer<T>(inputs, outputs), bias_(bias) {}

  std::vector<ParameterShape> parameters() const override {
    std::vector<ParameterShape> list{{"weight", {this->outputs(), this->inputs()}}};
    if (bias_)
      list.push_back({"bias", {this->outputs()}});
    return list;
  }

  void forward(Team team, std::int64_t rows, const T *theta, const T *, const T *a, T *h,
               T *) const override {
    affine(team, rows, theta, a, nullptr, nullptr, bias_ ? theta + weights() : nullptr, h);
  }

  void backward(Team team, std::int64_t rows, const T *theta, const T *a, const T *, const T *delta,
                T *d_a, T *gradient) const override {
    if (d_a)
      through_weights(team, rows, delta, theta, nullptr, nullptr, d_a);
    if (gradient)
      into_weights(team, rows, delta, a, nullptr, nullptr, gradient);
  }

  // R h = Ra·Wᵀ + a·Vᵀ + v_b
  void tangent_forward(Team team, std::int64_t rows, const T *theta, const T *v, const T *a,
                       const T *, const T *r_a, T *r_h) const override {
    affine(team, rows, v, a, r_a ? theta : nullptr, r_a, bias_ ? v + weights() : nullptr, r_h);
  }

  // R d_a = Rδ·W + δ·V;  R W̄ = Rδᵀ·a + δᵀ·Ra;  R b̄ = Σ Rδ
  void tangent_backward(Team team, std::int64_t rows, const T *theta, const T *v, const T *a,
                        const T *, const T *, const T *delta, const T *r_a, const T *r_delta,
                        T *r_d_a, T *result) const override {
    if (r_d_a)
      through_weights(team, rows, r_delta, theta, delta, v, r_d_a);
    into_weights(team, rows, r_delta, a, r_a ? delta : nullptr, r_a, result);
  }

private:
  std::int64_t weights() const { return this->inputs() * this->outputs(); }
  std::int64_t work(std::int64_t rows) const {
    return rows * weights() / 32;
  } // 32 multiply-adds a nanosecond

  template <class Body>
  void tiles(Team team, std::int64_t m, std::int64_t n, std::int64_t cost, Body &&body) const {
    const Split down(m, team.parallel ? kTile : m), across(n, team.parallel ? kTile : n);
    team.blocks(down.count * across.count, cost, [&](std::int64_t tile) {
      const std::int64_t i = tile / across.count, j = tile % across.count;
      body(down.begin(i), down.length(i), across.begin(j), across.length(j));
    });
  }

  // h = a·W1ᵀ + a2·W2ᵀ + bias; the second product only when W2 is given
  void affine(Team team, std::int64_t rows, const T *w1, const T *a1, const T *w2, const T *a2,
              const T *bias, T *h) const {
    const std::int64_t in = this->inputs(), out = this->outputs();
    tiles(team, rows, out, work(rows),
          [&](std::int64_t r, std::int64_t m, std::int64_t c, std::int64_t n) {
            for (std::int64_t i = r; i < r + m; ++i)
              for (std::int64_t j = c; j < c + n; ++j)
                h[i * out + j] = bias ? bias[j] : T(0);
            gemm_add(Transpose::no, Transpose::yes, m, n, in, a1 + r * in, in, w1 + c * in, in,
                     h + r * out + c, out);
            if (w2)
              gemm_add(Transpose::no, Transpose::yes, m, n, in, a2 + r * in, in, w2 + c * in, in,
                       h + r * out + c, out);
          });
  }

  // d_a = δ1·W1 + δ2·W2; the second product only when δ2 is given
  void through_weights(Team team, std::int64_t rows, const T *delta1, const T *w1, const T *delta2,
                       const T *w2, T *d_a) const {
    const std::int64_t in = this->inputs(), out = this->outputs();
    tiles(team, rows, in, work(rows),
          [&](std::int64_t r, std::int64_t m, std::int64_t c, std::int64_t n) {
            for (std::int64_t i = r; i < r + m; ++i)
              std::fill_n(d_a + i * in + c, n, T(0));
            gemm_add(Transpose::no, Transpose::no, m, n, out, delta1 + r * out, out, w1 + c, in,
                     d_a + r * in + c, in);
            if (delta2)
              gemm_add(Transpose::no, Transpose::no, m, n, out, delta2 + r * out, out, w2 + c, in,
                       d_a + r * in + c, in);
          });
  }

  // W̄ += δ1ᵀ·a1 + δ2ᵀ·a2, b̄ += column sums of δ1
  void into_weights(Team team, std::int64_t rows, const T *delta1, const T *a1, const T *delta2,
                    const T *a2, T *gradient) const {
    const std::int64_t in = this->inputs(), out = this->outputs();
    tiles(team, out, in, work(rows),
          [&](std::int64_t r, std::int64_t m, std::int64_t c, std::int64_t n) {
            gemm_add(Transpose::yes, Transpose::no, m, n, rows, delta1 + r, out, a1 + c, in,
                     gradient + r * in + c, in);
            if (delta2)
              gemm_add(Transpose::yes, Transpose::no, m, n, rows, delta2 + r, out, a2 + c, in,
                       gradient + r * in + c, in);
            if (bias_ && c == 0)
              for (std::int64_t i = 0; i < rows; ++i)
                for (std::int64_t j = r; j < r + m; ++j)
                  gradient[weights() + j] += delta1[i * out + j];
          });
  }

  bool bias_;
};

} // namespace

std::vector<std::string> linear_kinds() { return {"Linear"}; }

template <class T>
std::unique_ptr<Layer<T>> make_linear(const LayerSpec &spec, std::int64_t inputs) {
  if (spec.kind != "Linear")
    return nullptr;
  const auto in = static_cast<std::int64_t>(spec.option("in")),
             out = static_cast<std::int64_t>(spec.option("out"));
  require(in == inputs, "Linear expects ", in, " input features, but ", inputs, " arrive");
  require(out > 0, "Linear needs at least one output feature, got ", out);
  return std::make_unique<Linear<T>>(in, out, spec.option("bias") != 0.0);
}

template std::unique_ptr<Layer<float>> make_linear<float>(const LayerSpec &, std::int64_t);
template std::unique_ptr<Layer<double>> make_linear<double>(const LayerSpec &, std::int64_t);

} // namespace unstuck::nn
