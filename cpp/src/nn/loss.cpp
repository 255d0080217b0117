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
  // p, its factor and the class of the largest p
  std::int64_t saved_per_row(std::int64_t outputs) const override { return outputs + 2; }

  double share(const Targets<T> &targets, std::int64_t row) const override {
    return weight_of(targets, row) * class_weight(targets.label[row]);
  }

  double forward(std::int64_t rows, std::int64_t outputs, const T *z, const Targets<T> &targets,
                 double denominator, T *delta, T *saved) const override {
    double total = 0.0, all_classes = 0.0;
    for (std::int64_t k = 0; k < outputs; ++k)
      all_classes += class_weight(k);
    const double smooth = smoothing_ / static_cast<double>(outputs);
    for (std::int64_t i = 0; i < rows; ++i) {
      const T *row = z + i * outputs;
      const std::int64_t y = targets.label[i];
      const double w = weight_of(targets, i) / denominator, spread = w * smooth,
                   hit = w * (1.0 - smoothing_) * class_weight(y);
      T *e = delta ? delta + i * outputs : nullptr;
      const T top = ConstRow<T>(row, outputs).maxCoeff();
      const Exponentials sum = exponentials(row, outputs, y, top, e);
      // ln Σ e^{z−top}
      const double log_sum = row[y] == top ? std::log1p(sum.others) : std::log(sum.all);
      total += hit * (log_sum + static_cast<double>(top - row[y]));
      if (smoothing_ > 0.0)
        for (std::int64_t k = 0; k < outputs; ++k)
          total += spread * class_weight(k) * (log_sum + static_cast<double>(top - row[k]));
      if (saved)
        save_row(outputs, hit + spread * all_classes, sum.all, e, saved + i * (outputs + 2));
      if (e)
        finish_row(outputs, y, hit, spread, all_classes, sum, e);
    }
    return total;
  }

  // Rδ = factor·p∘(d − p·d), d = Rz − Rz_top: no digits are lost when one p is nearly 1
  void tangent(std::int64_t rows, std::int64_t outputs, const T *saved, const T *r_z,
               T *r_delta) const override {
    for (std::int64_t i = 0; i < rows; ++i) {
      const T *p = saved + i * (outputs + 2), *r = r_z + i * outputs;
      const T factor = p[outputs], top = r[static_cast<std::int64_t>(p[outputs + 1])];
      T mean = T(0);
      for (std::int64_t k = 0; k < outputs; ++k)
        mean += p[k] * (r[k] - top);
      for (std::int64_t k = 0; k < outputs; ++k)
        r_delta[i * outputs + k] = factor * p[k] * ((r[k] - top) - mean);
    }
  }

private:
  // Σ e^{z−top} over all classes and over all but the label: 1 − p_y = others/all keeps its digits
  // where p_y is nearly 1.
  struct Exponentials {
    double others, all;
  };

  // Writes e^{z−top} to `e` unless null.
  static Exponentials exponentials(const T *z, std::int64_t outputs, std::int64_t y, T top, T *e) {
    double others = 0.0, hit = 0.0;
    if (e) {
      Row<T>(e, outputs) = (ConstRow<T>(z, outputs) - top).exp();
      for (std::int64_t k = 0; k < y; ++k)
        others += static_cast<double>(e[k]);
      for (std::int64_t k = y + 1; k < outputs; ++k)
        others += static_cast<double>(e[k]);
      hit = static_cast<double>(e[y]);
    } else {
      for (std::int64_t k = 0; k < outputs; ++k)
        (k == y ? hit : others) += static_cast<double>(std::exp(z[k] - top));
    }
    return {others, others + hit};
  }

  static void save_row(std::int64_t outputs, double factor, double sum, const T *e, T *saved) {
    std::int64_t top = 0;
    for (std::int64_t k = 0; k < outputs; ++k) {
      saved[k] = static_cast<T>(static_cast<double>(e[k]) / sum);
      top = saved[k] > saved[top] ? k : top;
    }
    saved[outputs] = static_cast<T>(factor);
    saved[outputs + 1] = static_cast<T>(top);
  }

  // From e = e^{z−top}: δ = hit·(p − 1_y) + spread·(p·Σc − c) in place.
  void finish_row(std::int64_t outputs, std::int64_t y, double hit, double spread,
                  double all_classes, const Exponentials &sum, T *e) const {
    const double factor = (hit + spread * all_classes) / sum.all;
    const double smoothed =
        spread * (all_classes * static_cast<double>(e[y]) / sum.all - class_weight(y));
    for (std::int64_t k = 0; k < outputs; ++k)
      e[k] = static_cast<T>(factor * static_cast<double>(e[k]) - spread * class_weight(k));
    e[y] = static_cast<T>(smoothed - hit * sum.others / sum.all);
  }

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
  // σ(−|z|)
  template <class T> static T tail(T z) {
    const T e = std::exp(-std::abs(z));
    return e / (T(1) + e);
  }
  template <class T> static T value(T z, T y) {
    return (z > T(0) ? z : T(0)) - z * y + std::log1p(std::exp(-std::abs(z)));
  }
  // σ(z) − y, from the small one of σ(z) and 1 − σ(z)
  template <class T> static T first(T z, T y) {
    return z < T(0) ? tail(z) - y : (T(1) - y) - tail(z);
  }
  template <class T> static T second(T z, T) { return tail(z) * (T(1) - tail(z)); }
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
