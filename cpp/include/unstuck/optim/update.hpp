// One update of all parameters in one pass over memory: unscale, clip, weight decay, rule, moving
// average of the weights, zeroing of the gradient, statistics.
//
// The vector is cut into ranges of constant size, a range into tiles that stay in the first-level
// cache; each stage runs over the tile before the next tile is touched, so that memory sees one
// pass whatever is switched on. Rules with a trust ratio take block by block: the norms, then the
// update while the block is still in cache. Sums are taken in sixteen lanes per chunk, chunks added
// in order: the same bits for any number of threads and on every CPU level.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "unstuck/optim/formats.hpp"
#include "unstuck/optim/registry.hpp"

namespace unstuck {

// Consecutive parameters with settings of their own. rate and decay multiply lr and weight_decay.
struct BlockSetting {
  std::int64_t begin = 0, end = 0;
  double rate = 1.0, decay = 1.0;
  bool trust = true; // false: a trust ratio of 1
};

// A state vector in memory: T, or the codes of optim/codes.hpp, and for int8 a scale for every 256.
struct SlotArray {
  void *values = nullptr;
  float *scales = nullptr;
};

// Norms of one block of an update.
struct BlockReport {
  double gradient = 0.0; // ‖g‖, unscaled, not clipped
  double theta = 0.0;    // ‖θ‖ before
  double change = 0.0;   // ‖Δθ‖
  double trust = 1.0;
};

enum class NonFinite : int { propagate, refuse }; // what a NaN or infinity in the gradient does

template <class T> struct UpdateCall {
  const double *hyper;
  double lr;
  std::int64_t t; // number of this update, 1 for the first
  T *theta;
  const T *gradient;
  const SlotArray *slots;
  double scale = 1.0;          // multiplies the gradient before everything else: unscaling
  double clip_norm = 0.0;      // > 0: a longer gradient is shortened to this
  double gradient_norm = -1.0; // ‖gradient‖ if the caller knows it (unscaled)
  T *zero = nullptr;           // the gradient again, to be zeroed
  void *average = nullptr;     // moving average of θ: a ← d·a + (1 − d)·θ
  double average_decay = 0.0;  // d
  optim::Format average_format = optim::Format::theta; // or bfloat16, stochastically rounded
  NonFinite non_finite = NonFinite::propagate;
  BlockReport *report = nullptr; // one for each block given to the constructor
};

struct UpdateResult {
  bool done = true;       // false: the gradient was not finite, nothing has changed
  double gradient = -1.0; // ‖g‖ scaled, not clipped; −1 if it was not needed
};

// One optimizer's way through memory, planned once. A step allocates nothing.
template <class T> class Update {
public:
  // hyper: decides which slots are kept; a value that a schedule changes stands for "not zero".
  // blocks: cover 0 … n−1 in order; empty: one block.
  Update(RuleId rule, const double *hyper, std::int64_t n, std::vector<BlockSetting> blocks,
         optim::Format format = optim::Format::theta,
         optim::Rounding rounding = optim::Rounding::stochastic);
  ~Update();
  Update(const Update &) = delete;
  Update &operator=(const Update &) = delete;

  UpdateResult step(const UpdateCall<T> &call);

  std::int64_t size() const;
  std::size_t blocks() const;
  RuleId rule() const;

private:
  struct Plan;
  std::unique_ptr<Plan> plan_;
};

// ‖x‖ without overflow; NaN or infinity only if an element is not finite.
template <class T> double vector_norm(std::int64_t n, const T *x);

extern template class Update<float>;
extern template class Update<double>;

} // namespace unstuck
