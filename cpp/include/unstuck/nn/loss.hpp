// Losses: value, δ = ∂L/∂z and R{δ} from the network's outputs z, as sums weighted by
// 1/denominator.
//
// Reductions are PyTorch's "mean": over all elements, or Σ weights for the weighted cross-entropy.
// A chunk of rows contributes its share of the mean, so that ragged chunks add up exactly.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace unstuck::nn {

// The targets of some rows: labels for CrossEntropy, an array rows×outputs else; weight null means
// 1 for each.
template <class T> struct Targets {
  const std::int64_t *label = nullptr;
  const T *value = nullptr;
  const T *weight = nullptr;
};

template <class T> class Loss {
public:
  virtual ~Loss() = default;

  virtual bool uses_labels() const { return false; }

  // Kept per row by `forward` for `tangent`.
  virtual std::int64_t saved_per_row(std::int64_t outputs) const = 0;

  // The number that the weighted sum over one row's terms is divided by, as this row's share.
  virtual double share(const Targets<T> &targets, std::int64_t row) const;

  // Σ over rows of loss/denominator; fills δ (same scale) and `saved` unless null.
  virtual double forward(std::int64_t rows, std::int64_t outputs, const T *z,
                         const Targets<T> &targets, double denominator, T *delta,
                         T *saved) const = 0;

  // Rδ = (∂²L/∂z²)·Rz
  virtual void tangent(std::int64_t rows, std::int64_t outputs, const T *saved, const T *r_z,
                       T *r_delta) const = 0;
};

struct LossSpec {
  std::string kind;
  std::map<std::string, double> options;
  std::vector<double> class_weight; // CrossEntropy only; empty: 1 for each class
};

template <class T> std::unique_ptr<Loss<T>> make_loss(const LossSpec &spec);
std::vector<std::string> loss_kinds();

} // namespace unstuck::nn
