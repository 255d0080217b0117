// Dropout: in training every value is kept with probability 1 − p and scaled by 1/(1 − p).
//
// Who is kept follows from (seed, draws, sample, feature) alone: the same for any number of
// threads, and frozen until a training step draws anew. Instruments see one fixed function.
#include "unstuck/error.hpp"
#include "unstuck/nn/layer.hpp"

namespace unstuck::nn {
namespace {

constexpr double kDrawsPerWord = 1 << 20; // a float counts exactly that far

// A well-mixed 64-bit number. Source: Steele, Lea, Flood, "SplitMix" (2014).
std::uint64_t mixed(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

template <class T> class Dropout final : public Layer<T> {
public:
  Dropout(std::int64_t inputs, double p, std::uint64_t seed, std::uint64_t stream)
      : Layer<T>(inputs, inputs), key_(mixed(mixed(seed) ^ stream)),
        limit_(static_cast<std::uint64_t>(p * 0x1p32)), scale_(static_cast<T>(1.0 / (1.0 - p))) {}

  std::int64_t slope_per_row() const override { return this->inputs(); }
  std::int64_t work_per_row() const override { return this->inputs(); }

  std::vector<typename Layer<T>::Buffer> buffers() const override {
    return {{{"draws", {2}}, 0.0}}; // low and high word
  }

  void update_buffers(std::int64_t, const T *, T *buffers) const override {
    buffers[0] += T(1);
    if (static_cast<double>(buffers[0]) >= kDrawsPerWord) {
      buffers[0] = T(0);
      buffers[1] += T(1);
    }
  }

  void forward(Team team, std::int64_t rows, const T *, const T *buffers, const T *a, T *h,
               T *slope) const override {
    const std::int64_t n = this->inputs();
    if (!team.training) {
      team.elementwise(rows * n, [=](std::int64_t begin, std::int64_t end) {
        std::copy(a + begin, a + end, h + begin);
        if (slope)
          std::fill(slope + begin, slope + end, T(1));
      });
      return;
    }
    const auto draws = static_cast<std::uint64_t>(static_cast<double>(buffers[0]) +
                                                  kDrawsPerWord * static_cast<double>(buffers[1]));
    team.blocks(rows, rows * n, [&](std::int64_t row) {
      const std::uint64_t key =
          mixed(mixed(key_ ^ draws) ^ static_cast<std::uint64_t>(team.first_row + row));
      for (std::int64_t j = 0, i = row * n; j < n; ++j, ++i) {
        const bool kept = mixed(key + static_cast<std::uint64_t>(j)) >> 32 >= limit_;
        h[i] = kept ? scale_ * a[i] : T(0);
        if (slope)
          slope[i] = kept ? scale_ : T(0);
      }
    });
  }

  void backward(Team team, std::int64_t rows, const T *, const T *, const T *slope, const T *delta,
                T *d_a, T *) const override {
    if (d_a)
      scaled(team, rows, slope, delta, d_a);
  }

  void tangent_forward(Team team, std::int64_t rows, const T *, const T *, const T *,
                       const T *slope, const T *r_a, T *r_h) const override {
    scaled(team, rows, slope, r_a, r_h);
  }

  void tangent_backward(Team team, std::int64_t rows, const T *, const T *, const T *,
                        const T *slope, const T *, const T *, const T *, const T *r_delta, T *r_d_a,
                        T *) const override {
    if (r_d_a)
      scaled(team, rows, slope, r_delta, r_d_a);
  }

private:
  void scaled(Team team, std::int64_t rows, const T *slope, const T *in, T *out) const {
    team.elementwise(rows * this->inputs(), [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        out[i] = slope[i] * in[i];
    });
  }

  std::uint64_t key_, limit_;
  T scale_;
};

} // namespace

std::vector<std::string> dropout_kinds() { return {"Dropout"}; }

template <class T>
std::unique_ptr<Layer<T>> make_dropout(const LayerSpec &spec, std::int64_t inputs) {
  if (spec.kind != "Dropout")
    return nullptr;
  const double p = spec.option("p");
  require(p >= 0.0 && p < 1.0, "Dropout needs p in [0, 1), got ", p);
  return std::make_unique<Dropout<T>>(inputs, p, static_cast<std::uint64_t>(spec.option("seed")),
                                      static_cast<std::uint64_t>(spec.option("stream")));
}

template std::unique_ptr<Layer<float>> make_dropout<float>(const LayerSpec &, std::int64_t);
template std::unique_ptr<Layer<double>> make_dropout<double>(const LayerSpec &, std::int64_t);

} // namespace unstuck::nn
