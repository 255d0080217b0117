// Curvature products over many samples by either schedule, with the primal pass kept or made anew.
#include "unstuck/nn/hessian_product.hpp"

#include <algorithm>
#include <iterator>

#include "unstuck/error.hpp"

namespace unstuck::nn {
namespace {

constexpr std::int64_t kPartBytes = std::int64_t{64}
                                    << 20; // gradients of all groups and vectors of one block
constexpr std::int64_t kRange = 4096;
constexpr std::int64_t kPollVectors = 2; // of a block, however long one takes

} // namespace

template <class T>
HessianProduct<T>::HessianProduct(const Objective<T> &objective, Point<T> point, Selection chosen,
                                  std::int64_t memory_budget, const Poll &poll, Curvature kind)
    : objective_(objective), kind_(kind),
      theta_(point.theta, point.theta + objective.network().size()),
      buffers_(point.buffers, point.buffers + objective.network().buffer_size()),
      training_(point.training),
      plan_(chosen.count, objective.network().cost(), objective.coupled(point)),
      denominator_(objective.denominator(chosen)) {
  require(kind == Curvature::hessian || !objective.spectral(),
          "`spectral_penalty` has no Gauss–Newton or Fisher matrix; leave it out of the landscape");
  require(kind != Curvature::fisher || !objective.coupled(point),
          "`fisher` needs a gradient of each sample, but ", point.training ? "in training " : "",
          "this network's outputs are coupled over the batch; ",
          point.training ? "use mode=\"eval\"" : "leave `track` of its BatchNorm layers True");
  objective.network().check_batch(chosen.count, point.training);
  if (chosen.index)
    index_.assign(chosen.index, chosen.index + chosen.count);
  const Network<T> &network = objective_.network();
  const std::int64_t size = static_cast<std::int64_t>(sizeof(T)), n = network.weights();
  const std::int64_t loss_row = objective_.loss_function().saved_per_row(network.outputs());
  const std::int64_t gathered = chosen.index ? network.inputs() + network.outputs() + 2 : 0;
  const std::int64_t row = Tape<T>::per_row(network, Keep::curvature, loss_row) + gathered;
  const std::int64_t tangent = TangentTape<T>::per_row(network) * plan_.chunk_rows;
  const std::int64_t maps =
      (mapped() ? 4 * size * n : 0) +
      (objective.spectral() ? SpectralCurvature<T>::bytes(*objective.spectral()) : 0);
  const std::int64_t fixed = size * (tangent + n * (plan_.groups + 1)) + maps;
  report_ = {false, plan_.tiles, fixed + size * row * plan_.chunk_rows, plan_.chunk_rows, 0};
  report_.minimum = report_.bytes;
  require(
      report_.minimum <= memory_budget, "`memory_budget` is ", memory_budget,
      " bytes, but a Hessian product of this network needs at least ", report_.minimum,
      plan_.groups != 1 || !objective.coupled(point) ? ""
      : point.training
          ? ", because in training its batch is one function that is never cut into chunks; pass "
            "a smaller `batch` or use mode=\"eval\""
          : ", because the batch, over which its outputs are coupled, is never cut into chunks; "
            "pass a smaller `batch`");
  differentiate_weights(poll);
  const std::int64_t all =
      product(size * row, plan_.groups * plan_.chunks_per_group() * plan_.chunk_rows,
              "the kept primal pass");
  if (fixed + all <= memory_budget) {
    report_.cached = true;
    report_.bytes = fixed + all;
    keep_primal(poll);
  }
  part_bytes_ = std::min(kPartBytes, memory_budget - report_.bytes + size * n * plan_.groups);
}

// ω, ∂L/∂ω and the spectral penalty's second derivative, where there are such.
template <class T> void HessianProduct<T>::differentiate_weights(const Poll &poll) {
  if (mapped()) {
    with_weights(objective_.network(), Point<T>{theta_.data(), buffers_.data(), training_},
                 weights_);
    if (kind_ == Curvature::hessian) {
      d_weights_.resize(weights_.size());
      Workspace<T> space;
      objective_.weight_gradient(point(), selection(), d_weights_.data(), space, poll);
    }
  }
  if (objective_.spectral())
    spectral_.emplace(*objective_.spectral(), weights(), poll);
}

// Forward, loss, δ of every layer and bends of one chunk.
template <class T>
void HessianProduct<T>::primal(Team team, Plan::Range range, Tape<T> &tape,
                               const Rows<T> &rows) const {
  const Network<T> &network = objective_.network();
  forward(network, team, range.count, point(), rows.x, tape);
  objective_.loss_function().forward(range.count, network.outputs(), tape.h.back(), rows.targets,
                                     denominator_, tape.delta.back(), tape.loss);
  backward(network, team, range.count, weights(), rows.x, tape, static_cast<T *>(nullptr));
  if (kind_ == Curvature::hessian)
    keep_bends(network, team, range.count, rows.x, tape);
}

template <class T> void HessianProduct<T>::keep_primal(const Poll &poll) {
  const Network<T> &network = objective_.network();
  const std::int64_t chunks = plan_.chunks_per_group(), work = network.cost().work;
  const std::int64_t loss_row = objective_.loss_function().saved_per_row(network.outputs());
  kept_.resize(static_cast<std::size_t>(plan_.groups * chunks));
  for (std::int64_t c = 0; c < chunks; ++c) {
    if (poll)
      poll();
    parallel_blocks(plan_.groups, plan_.tiles ? 0 : plan_.rows * work / 8,
                    [&](std::int64_t group, int) {
                      const Plan::Range range = plan_.range(group, c);
                      if (range.count <= 0)
                        return;
                      Kept &kept = kept_[static_cast<std::size_t>(group * chunks + c)];
                      kept.tape = Tape<T>(network, range.count, Keep::curvature, loss_row);
                      if (!index_.empty())
                        kept.gathered.reserve(range.count, network.inputs(), network.outputs(),
                                              objective_.data());
                      kept.rows = kept.gathered.fill(objective_.data(), selection(), range,
                                                     network.inputs(), network.outputs());
                      primal(team(poll, range), range, kept.tape, kept.rows);
                    });
  }
}

// Rδ = δ·(δᵀRz)/w per row, δ being w·∂ℓ/∂z and w the row's share of the mean.
template <class T>
void HessianProduct<T>::outer_product(std::int64_t rows, const Targets<T> &targets, const T *delta,
                                      const T *r_z, T *r_delta) const {
  const std::int64_t out = objective_.network().outputs();
  for (std::int64_t i = 0; i < rows; ++i) {
    double slope = 0.0;
    for (std::int64_t k = i * out; k < (i + 1) * out; ++k)
      slope += static_cast<double>(delta[k]) * static_cast<double>(r_z[k]);
    const double share = objective_.loss_function().share(targets, i);
    const T factor = share > 0.0 ? static_cast<T>(slope * denominator_ / share) : T(0);
    for (std::int64_t k = i * out; k < (i + 1) * out; ++k)
      r_delta[k] = factor * delta[k];
  }
}

template <class T>
void HessianProduct<T>::add_product(Team team, Plan::Range range, const Tape<T> &tape,
                                    const Rows<T> &rows, const T *v, TangentTape<T> &tangent,
                                    T *result) const {
  const Network<T> &network = objective_.network();
  const std::int64_t count = range.count;
  T *const r_z = tangent.r_h.back(), *const r_delta = tangent.r_delta.back();
  tangent_forward(network, team, count, weights(), v, rows.x, tape, tangent);
  if (kind_ == Curvature::fisher)
    outer_product(count, rows.targets, tape.delta.back(), r_z, r_delta);
  else
    objective_.loss_function().tangent(count, network.outputs(), tape.loss, r_z, r_delta);
  if (kind_ == Curvature::hessian)
    tangent_backward(network, team, count, weights(), v, rows.x, tape, tangent, result);
  else
    pull_back(network, team, count, weights(), rows.x, tape, tangent, result);
}

template <class T> void HessianProduct<T>::prepare_slots() {
  const auto wanted = static_cast<std::size_t>(plan_.tiles ? 1 : thread_count());
  const Network<T> &network = objective_.network();
  while (slots_.size() < wanted) {
    Slot slot;
    slot.tangent = TangentTape<T>(network, plan_.chunk_rows);
    if (!report_.cached) {
      slot.tape = Tape<T>(network, plan_.chunk_rows, Keep::curvature,
                          objective_.loss_function().saved_per_row(network.outputs()));
      slot.gathered.reserve(plan_.chunk_rows, network.inputs(), network.outputs(),
                            objective_.data());
    }
    slots_.push_back(std::move(slot));
  }
}

template <class T>
void HessianProduct<T>::apply(const T *vectors, std::int64_t count, T *products, const Poll &poll) {
  prepare_slots();
  const std::int64_t n = size(), one = (plan_.groups + (mapped() ? 2 : 0)) *
                                       objective_.network().weights() *
                                       static_cast<std::int64_t>(sizeof(T));
  std::int64_t block = std::max<std::int64_t>(1, part_bytes_ / one);
  if (!plan_.tiles) // tiles poll within a chunk
    block = std::min(
        block, std::max(kPollVectors, plan_.chunks_per_poll(6 * objective_.network().cost().work)));
  for (std::int64_t first = 0; first < count; first += block)
    apply_block(vectors + first * n, std::min(block, count - first), products + first * n, poll);
}

template <class T>
void HessianProduct<T>::apply_block(const T *vectors, std::int64_t count, T *products,
                                    const Poll &poll) {
  if (mapped())
    return apply_mapped(vectors, count, products, poll);
  multiply(vectors, count, products, objective_.l2(), poll);
  for (std::int64_t j = 0; j < count && spectral_; ++j)
    spectral_->add_product(vectors + j * size(), products + j * size());
}

// Through ω: RΩ = Φ'(θ)v, the product there, and back.
template <class T>
void HessianProduct<T>::apply_mapped(const T *vectors, std::int64_t count, T *products,
                                     const Poll &poll) {
  const WeightMap<T> &map = objective_.network().map();
  const std::int64_t n = size(), m = objective_.network().weights();
  const auto block = static_cast<std::size_t>(count * m);
  if (r_weights_.size() < block) {
    r_weights_.resize(block);
    r_d_weights_.resize(block);
  }
  for (std::int64_t j = 0; j < count; ++j)
    map.tangent(theta_.data(), buffers_.data(), vectors + j * n, r_weights_.data() + j * m);
  multiply(r_weights_.data(), count, r_d_weights_.data(), 0.0, poll);
  const T l2 = static_cast<T>(objective_.l2());
  for (std::int64_t j = 0; j < count; ++j) {
    T *r_d_weights = r_d_weights_.data() + j * m, *product = products + j * n;
    const T *v = vectors + j * n;
    if (spectral_)
      spectral_->add_product(r_weights_.data() + j * m, r_d_weights);
    if (kind_ == Curvature::hessian)
      map.product(theta_.data(), buffers_.data(), v, d_weights_.data(), r_d_weights, product);
    else
      map.gradient(theta_.data(), buffers_.data(), r_d_weights, product);
    for (std::int64_t i = 0; i < n && l2 != T(0); ++i)
      product[i] += l2 * v[i];
  }
}

// Of the mean loss and ½·penalty·‖ω‖², in ω.
template <class T>
void HessianProduct<T>::multiply(const T *vectors, std::int64_t count, T *products, double penalty,
                                 const Poll &poll) {
  const std::int64_t n = objective_.network().weights(), chunks = plan_.chunks_per_group(),
                     in = objective_.network().inputs(), out = objective_.network().outputs();
  const bool direct = plan_.groups == 1; // into `products`, which starts at l2·v
  if (!direct && std::ssize(parts_) < plan_.groups * count * n)
    parts_.resize(static_cast<std::size_t>(plan_.groups * count * n));
  T *const parts = direct ? products : parts_.data();
  const T l2 = static_cast<T>(penalty);
  const std::int64_t ranges = (n + kRange - 1) / kRange;
  if (direct)
    parallel_ranges(count * n, kRange, count * n / 4, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        products[i] = l2 * vectors[i];
    });
  const std::int64_t work = objective_.network().cost().work;
  // a task: one group with one vector when the primal pass is kept, else with all vectors
  const std::int64_t split = report_.cached ? count : 1, each = count / split;
  const auto task = [&](std::int64_t group, std::int64_t first_vector, std::int64_t chunk,
                        Slot &slot) {
    const Plan::Range range = plan_.range(group, chunk);
    if (range.count <= 0)
      return;
    const Team team = this->team(poll, range);
    const Tape<T> *tape = &slot.tape;
    Rows<T> rows;
    T *part = parts + (group * count + first_vector) * n;
    if (report_.cached) {
      const Kept &kept = kept_[static_cast<std::size_t>(group * chunks + chunk)];
      tape = &kept.tape;
      rows = kept.rows;
    } else {
      rows = slot.gathered.fill(objective_.data(), selection(), range, in, out);
      primal(team, range, slot.tape, rows);
    }
    for (std::int64_t j = 0; j < each; ++j)
      add_product(team, range, *tape, rows, vectors + (first_vector + j) * n, slot.tangent,
                  part + j * n);
  };
  const std::int64_t length = plan_.chunks_per_poll(6 * work * count);
  for (std::int64_t wave = 0; wave < chunks; wave += length) {
    if (poll)
      poll();
    parallel_blocks(
        plan_.groups * split, plan_.tiles ? 0 : plan_.rows * work * count / 8,
        [&](std::int64_t id, int slot) {
          const std::int64_t group = id / split, first_vector = id % split * each;
          if (wave == 0 && !direct)
            std::fill_n(parts + (group * count + first_vector) * n, each * n, T(0));
          for (std::int64_t c = wave; c < std::min(chunks, wave + length); ++c)
            task(group, first_vector, c, slots_[static_cast<std::size_t>(slot)]);
        },
        std::ssize(slots_));
  }
  if (direct)
    return;
  parallel_blocks(ranges * count, n * count * plan_.groups / 4, [&](std::int64_t id, int) {
    const std::int64_t vector = id / ranges, begin = id % ranges * kRange,
                       end = std::min(n, begin + kRange);
    const T *v = vectors + vector * n;
    T *result = products + vector * n;
    for (std::int64_t i = begin; i < end; ++i)
      result[i] = l2 * v[i];
    for (std::int64_t g = 0; g < plan_.groups; ++g) {
      const T *part = parts + (g * count + vector) * n;
      for (std::int64_t i = begin; i < end; ++i)
        result[i] += part[i];
    }
  });
}

template class HessianProduct<float>;
template class HessianProduct<double>;

} // namespace unstuck::nn
