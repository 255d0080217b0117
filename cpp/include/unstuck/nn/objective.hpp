// The objective: mean loss of a network over selected samples plus ½·l2·‖θ‖² and a spectral
// penalty, with its gradient.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "unstuck/nn/loss.hpp"
#include "unstuck/nn/network.hpp"
#include "unstuck/nn/plan.hpp"
#include "unstuck/nn/spectral_penalty.hpp"

namespace unstuck::nn {

// All samples, row-major; owned by the caller, who keeps them alive.
template <class T> struct Data {
  const T *x = nullptr;
  std::int64_t rows = 0;
  Targets<T> targets;
};

// Which samples, in order; index null: rows 0 … count−1.
struct Selection {
  const std::int64_t *index = nullptr;
  std::int64_t count = 0;
};

// The rows of one chunk, gathered side by side (or the data's own rows when they already are).
template <class T> struct Rows {
  const T *x = nullptr;
  Targets<T> targets;
};

template <class T> struct Gathered {
  std::vector<T> x, value, weight;
  std::vector<std::int64_t> label;

  void reserve(std::int64_t rows, std::int64_t inputs, std::int64_t outputs, const Data<T> &data);
  Rows<T> fill(const Data<T> &data, Selection selection, Plan::Range range, std::int64_t inputs,
               std::int64_t outputs);
};

// What evaluations reuse: one tape per thread, one gradient per group.
template <class T> struct Workspace {
  struct Slot {
    Tape<T> tape;
    Gathered<T> gathered;
    Keep keep = Keep::outputs;
  };
  std::vector<Slot> slots;
  std::vector<T> gradients;
  AlignedVector<T> weights, d_weights; // ω and ∂L/∂ω, where ω is not θ
  std::vector<double> losses, squares;
};

// Hands workspaces to concurrent callers; each goes back when its lease ends.
template <class W> class Pool {
public:
  std::unique_ptr<W> take() {
    const std::scoped_lock lock(mutex_);
    if (free_.empty())
      return std::make_unique<W>();
    auto last = std::move(free_.back());
    free_.pop_back();
    return last;
  }
  void give(std::unique_ptr<W> workspace) {
    const std::scoped_lock lock(mutex_);
    free_.push_back(std::move(workspace));
  }

private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<W>> free_;
};

template <class T> class Objective {
public:
  Objective(std::shared_ptr<const Network<T>> network, std::shared_ptr<const Loss<T>> loss,
            Data<T> data, double l2, double spectral = 0.0);

  const Network<T> &network() const { return *network_; }
  const Loss<T> &loss_function() const { return *loss_; }
  const Data<T> &data() const { return data_; }
  double l2() const { return l2_; }
  const SpectralPenalty<T> *spectral() const { return spectral_ ? &*spectral_ : nullptr; }
  Selection all() const { return {nullptr, data_.rows}; }

  double loss(Point<T> point, Selection selection, Workspace<T> &space, const Poll &poll) const;

  // (loss, ‖gradient‖²); fills `gradient`.
  struct Value {
    double loss, square;
  };
  Value gradient(Point<T> point, Selection selection, T *gradient, Workspace<T> &space,
                 const Poll &poll) const;

  // (mean loss + spectral penalty) at ω, which stands in `point` for θ; fills `d_weights` = ∂/∂ω.
  double weight_gradient(Point<T> point, Selection selection, T *d_weights, Workspace<T> &space,
                         const Poll &poll) const;

  // After a gradient in training on `space`: what layers keep of the batch that it saw.
  void update_buffers(std::int64_t rows, const Workspace<T> &space, T *buffers) const;

  // Whether an evaluation there sees all samples as one function.
  bool coupled(Point<T> point) const { return network_->coupled(point.training); }

  // Σ of the samples' shares in the mean; must be positive.
  double denominator(Selection selection) const;

private:
  void prepare(const Plan &plan, Keep keep, Workspace<T> &space) const;
  double run_chunks(const Plan &plan, Point<T> point, Selection selection, T *gradients,
                    Workspace<T> &space, const Poll &poll) const;
  double run_gradients(const Plan &plan, Point<T> point, Selection selection, T *sum,
                       Workspace<T> &space, const Poll &poll) const;
  Value finish(std::int64_t groups, double loss, const T *theta, T *gradient,
               Workspace<T> &space) const;
  double penalty(const T *theta) const;

  std::shared_ptr<const Network<T>> network_;
  std::shared_ptr<const Loss<T>> loss_;
  Data<T> data_;
  double l2_;
  std::optional<SpectralPenalty<T>> spectral_;
};

// Outputs of the network for `rows` samples x into `out`.
template <class T>
void predict(const Network<T> &network, Point<T> point, const T *x, std::int64_t rows, T *out,
             const Poll &poll);

} // namespace unstuck::nn
