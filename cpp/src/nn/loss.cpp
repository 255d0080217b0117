// CrossEntropy, MSE, BCEWithLogits and Huber with first and second derivatives in the outputs.
#include "unstuck/nn/loss.hpp"

#include <Eigen/Core>
#include <cmath>

#include "unstuck/error.hpp"

namespace unstuck::nn {
namespace {

template <class T> using Row = Eigen::Map<Eigen::Array<T, 1, Eigen::Dynamic>>;
template <class T> using ConstRow = Eigen::Map<const Eigen::Array<T, 1, Eigen::Dynamic>>;

template <class T> double weight_of(const Targets<T> &targets, std::int64_t row) {
  return targets.weight ? static_cast<double>(targets.weight[row]) : 1.0;
}

// L_i = w_i [(1−ε)·c_y·(−ln p_y) + ε/C·Σ_k c_k·(−ln p_k)], p = softmax(z), divided by Σ w_i·c_y
// (torch's "mean")
template <class T> class CrossEntropy final : public Loss<T> {
public:
  CrossEntropy(double smoothing, std::vector<double> class_weight)
      : smoothing_(smoothing), class_weight_(std::move(class_weight)) {}

  bool uses_labels() const override { return true; }
  std::int64_t saved_per_row(std::int64_t outputs) const override {
    return outputs + 1;
  } // p and its factor

  double share(const Targets<T> &targets, std::int64_t row) const override {
    return weight_of(targets, row) * class_weight(targets.label[row]);
  }

  double forward(std::int64_t rows, std::int64_t outputs, const T *z, const Targets<T> &targets,
                 double denominator, T *delta, T *saved) const override {
    double total = 0.0, all_classes = 0.0;
    for (std::int64_t k = 0; k < outputs; ++k)
      all_classes += class_weight(k);
    const double spread = smoothing_ / static_cast<double>(outputs);
    for (std::int64_t i = 0; i < rows; ++i) {
      const T *row = z + i * outputs;
      const std::int64_t y = targets.label[i];
      const double w = weight_of(targets, i) / denominator,
                   hit = w * (1.0 - smoothing_) * class_weight(y);
      const T top = ConstRow<T>(row, outputs).maxCoeff();
      T *p = delta ? delta + i * outputs : nullptr;
      double sum = 0.0;
      if (p) {
        Row<T>(p, outputs) = (ConstRow<T>(row, outputs) - top).exp();
        for (std::int64_t k = 0; k < outputs; ++k)
          sum += static_cast<double>(p[k]);
      } else {
        for (std::int64_t k = 0; k < outputs; ++k)
          sum += static_cast<double>(std::exp(row[k] - top));
      }
      const double log_sum = std::log(sum) + static_cast<double>(top); // ln Σ e^z
      total += hit * (log_sum - static_cast<double>(row[y]));
      if (smoothing_ > 0.0)
        for (std::int64_t k = 0; k < outputs; ++k)
          total += w * spread * class_weight(k) * (log_sum - static_cast<double>(row[k]));
      if (!p)
        continue;
      const double factor = hit + w * spread * all_classes; // δ = factor·p − targets
      for (std::int64_t k = 0; k < outputs; ++k)
        p[k] = static_cast<T>(static_cast<double>(p[k]) / sum);
      if (saved) {
        std::copy_n(p, outputs, saved + i * (outputs + 1));
        saved[i * (outputs + 1) + outputs] = static_cast<T>(factor);
      }
      for (std::int64_t k = 0; k < outputs; ++k)
        p[k] = static_cast<T>(factor * static_cast<double>(p[k]) - w * spread * class_weight(k));
      p[y] -= static_cast<T>(hit);
    }
    return total;
  }

  // Rδ = factor·(p∘Rz − p(p·Rz))
  void tangent(std::int64_t rows, std::int64_t outputs, const T *saved, const T *r_z,
               T *r_delta) const override {
    for (std::int64_t i = 0; i < rows; ++i) {
      const T *p = saved + i * (outputs + 1), *r = r_z + i * outputs;
      T mean = T(0);
      for (std::int64_t k = 0; k < outputs; ++k)
        mean += p[k] * r[k];
      for (std::int64_t k = 0; k < outputs; ++k)
        r_delta[i * outputs + k] = p[outputs] * p[k] * (r[k] - mean);
    }
  }

private:
  double class_weight(std::int64_t k) const {
    return class_weight_.empty() ? 1.0 : class_weight_[static_cast<std::size_t>(k)];
  }

  double smoothing_;
  std::vector<double> class_weight_;
};

// Losses that are a sum over elements: f(z, y), f', f''. The mean runs over rows and outputs.
template <class T, class F> class Elementwise final : public Loss<T> {
public:
  explicit Elementwise(F f) : f_(f) {}

  std::int64_t saved_per_row(std::int64_t outputs) const override { return outputs; }

  double forward(std::int64_t rows, std::int64_t outputs, const T *z, const Targets<T> &targets,
                 double denominator, T *delta, T *saved) const override {
    double total = 0.0;
    for (std::int64_t i = 0; i < rows; ++i) {
      const double w = weight_of(targets, i) / (denominator * static_cast<double>(outputs));
      double row = 0.0;
      for (std::int64_t k = i * outputs; k < (i + 1) * outputs; ++k) {
        row += static_cast<double>(f_.value(z[k], targets.value[k]));
        if (delta)
          delta[k] = static_cast<T>(w) * f_.first(z[k], targets.value[k]);
        if (saved)
          saved[k] = static_cast<T>(w) * f_.second(z[k], targets.value[k]);
      }
      total += w * row;
    }
    return total;
  }

  void tangent(std::int64_t rows, std::int64_t outputs, const T *saved, const T *r_z,
               T *r_delta) const override {
    for (std::int64_t k = 0; k < rows * outputs; ++k)
      r_delta[k] = saved[k] * r_z[k];
  }

private:
  F f_;
};

struct Squared {
  template <class T> static T value(T z, T y) { return (z - y) * (z - y); }
  template <class T> static T first(T z, T y) { return T(2) * (z - y); }
  template <class T> static T second(T, T) { return T(2); }
};

// max(z,0) − zy + ln(1 + e^{−|z|})
struct BinaryLogits {
  template <class T> static T sigmoid(T z) {
    const T e = std::exp(-std::abs(z));
    return (z < T(0) ? e : T(1)) / (T(1) + e);
  }
  template <class T> static T value(T z, T y) {
    return (z > T(0) ? z : T(0)) - z * y + std::log1p(std::exp(-std::abs(z)));
  }
  template <class T> static T first(T z, T y) { return sigmoid(z) - y; }
  template <class T> static T second(T z, T) { return sigmoid(z) * sigmoid(-z); }
};

// ½e² for |e| < d, d(|e| − ½d) else
struct HuberRule {
  double delta;
  template <class T> T value(T z, T y) const {
    const T e = std::abs(z - y), d = T(delta);
    return e < d ? T(0.5) * e * e : d * (e - T(0.5) * d);
  }
  template <class T> T first(T z, T y) const {
    const T e = z - y, d = T(delta);
    return e > d ? d : (e < -d ? -d : e);
  }
  template <class T> T second(T z, T y) const { return std::abs(z - y) < T(delta) ? T(1) : T(0); }
};

} // namespace

template <class T> double Loss<T>::share(const Targets<T> &targets, std::int64_t row) const {
  return weight_of(targets, row);
}

std::vector<std::string> loss_kinds() { return {"CrossEntropy", "MSE", "BCEWithLogits", "Huber"}; }

template <class T> std::unique_ptr<Loss<T>> make_loss(const LossSpec &spec) {
  if (spec.kind == "CrossEntropy")
    return std::make_unique<CrossEntropy<T>>(spec.options.at("label_smoothing"), spec.class_weight);
  if (spec.kind == "MSE")
    return std::make_unique<Elementwise<T, Squared>>(Squared{});
  if (spec.kind == "BCEWithLogits")
    return std::make_unique<Elementwise<T, BinaryLogits>>(BinaryLogits{});
  require(spec.kind == "Huber", "unknown loss kind `", spec.kind, "`");
  return std::make_unique<Elementwise<T, HuberRule>>(HuberRule{spec.options.at("delta")});
}

template class Loss<float>;
template class Loss<double>;
template std::unique_ptr<Loss<float>> make_loss<float>(const LossSpec &);
template std::unique_ptr<Loss<double>> make_loss<double>(const LossSpec &);

} // namespace unstuck::nn
