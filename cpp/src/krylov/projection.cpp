// The projected matrix of a thick-restarted Lanczos run and the polynomials of its runs.
#include "unstuck/krylov/projection.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "unstuck/error.hpp"

namespace unstuck {

void Projection::reserve(std::size_t most) {
  for (std::vector<double> *entries : {&alpha_, &beta_, &coupling_})
    entries->reserve(most);
  run_beta_.reserve((run_beta_.size() / 64 + 1) * 64);
}

double Projection::expected(std::int64_t i) const {
  const std::int64_t head = frozen_ + static_cast<std::int64_t>(spikes_.size());
  if (fresh())
    return 0.0;
  if (size() == head && !spikes_.empty())
    return i >= frozen_ ? spikes_[static_cast<std::size_t>(i - frozen_)] : 0.0;
  return i + 1 == size() ? coupling_.back() : 0.0;
}

void Projection::extend(double alpha, double beta) {
  alpha_.push_back(alpha);
  beta_.push_back(beta);
  coupling_.push_back(beta);
  run_beta_.push_back(beta);
  ++products_;
  ++roundings_;
}

void Projection::begin_run() {
  ResidualPolynomial ended{current_roots(), run_beta_, run_dimension_};
  ended_.push_back(std::move(ended));
  restarts_.push_back(size());
  coupling_.back() = 0.0;
  run_dimension_ = dimension_ - size();
  run_beta_.clear();
  given_up_.clear();
  before_ = last_ = Mark{};
}

std::vector<Projection::Block> Projection::blocks() const {
  std::vector<Block> result;
  for (std::int64_t i = 0; i < frozen_; ++i)
    result.push_back({i, i + 1, false});
  std::int64_t begin = frozen_;
  const auto add = [&](std::int64_t end) {
    if (end > begin)
      result.push_back({begin, end, begin == frozen_ && !spikes_.empty()});
    begin = end;
  };
  for (const std::int64_t step : restarts_)
    add(step);
  add(size());
  return result;
}

Arrow Projection::matrix(const Block &block) const {
  const auto begin = static_cast<std::size_t>(block.begin);
  const auto count = static_cast<std::size_t>(block.end - block.begin);
  return {std::span(alpha_).subspan(begin, count), std::span(coupling_).subspan(begin, count),
          block.arrow ? std::span<const double>(spikes_) : std::span<const double>()};
}

void Projection::append_pairs(const Block &block, bool current, bool with_weights,
                              std::vector<RitzPair> &pairs) const {
  const std::int64_t count = block.end - block.begin;
  // kept pairs to which nothing has been added yet
  const bool only_head = block.arrow && count == static_cast<std::int64_t>(spikes_.size());
  const bool all = with_weights || only_head;
  std::vector<std::int64_t> rows(static_cast<std::size_t>(all ? count : 1));
  std::iota(rows.begin(), rows.end(), all ? 0 : count - 1);
  const TridiagonalEigen found = eigen(matrix(block), rows);
  const double beta = beta_[static_cast<std::size_t>(block.end - 1)];
  for (std::size_t i = 0; i < found.values.size(); ++i) {
    const double *s = found.components.data() + i * rows.size();
    const double spike = only_head ? std::inner_product(s, s + count, spikes_.begin(), 0.0)
                                   : beta * s[rows.size() - 1];
    RitzPair pair{found.values[i], spike, current, {}};
    if (with_weights) {
      pair.weights.assign(alpha_.size(), 0.0);
      std::copy_n(s, count, pair.weights.begin() + block.begin);
    }
    pairs.push_back(std::move(pair));
  }
}

std::vector<RitzPair> Projection::pairs(bool with_weights) const {
  std::vector<RitzPair> result;
  const std::vector<Block> parts = blocks();
  for (std::size_t b = 0; b < parts.size(); ++b) {
    const bool last = b + 1 == parts.size() && parts[b].begin >= frozen_;
    append_pairs(parts[b], last && !fresh() && !run_beta_.empty(), with_weights, result);
  }
  std::ranges::stable_sort(result, {}, &RitzPair::value);
  return result;
}

Compression Projection::compression(std::int64_t low, std::int64_t high) const {
  require(low >= 0 && high >= 0 && low + high >= 1 && low + high <= size(),
          "`low` + `high` must be in [1, ", size(), "], got ", low, " and ", high);
  std::vector<RitzPair> all = pairs(true);
  Compression result;
  for (const bool current : {false, true})
    for (std::int64_t i = 0; i < size(); ++i) {
      RitzPair &pair = all[static_cast<std::size_t>(i)];
      if (pair.current != current)
        continue;
      if (i < low || i >= size() - high) {
        // unit norm to the last bit: what the eigensolver leaves would add up over the cycles
        const auto &w = pair.weights;
        const double length = std::sqrt(std::inner_product(w.begin(), w.end(), w.begin(), 0.0));
        for (double &weight : pair.weights)
          weight /= length;
        result.kept.push_back(std::move(pair));
      } else if (current)
        result.given_up.push_back(pair.value);
    }
  return result;
}

void Projection::compress(const Compression &compression) {
  std::vector<double> values, spikes;
  Mark mark{run_beta_.size(), given_up_.size() + compression.given_up.size(), {}};
  for (const RitzPair &pair : compression.kept) {
    values.push_back(pair.value);
    if (pair.current) {
      mark.kept.push_back(pair.value);
      spikes.push_back(pair.spike);
    }
  }
  given_up_.insert(given_up_.end(), compression.given_up.begin(), compression.given_up.end());
  frozen_ = static_cast<std::int64_t>(values.size() - spikes.size());
  alpha_ = std::move(values);
  spikes_ = std::move(spikes);
  beta_.assign(alpha_.size(), 0.0);
  coupling_.assign(alpha_.size(), 0.0);
  restarts_.clear();
  before_ = std::exchange(last_, std::move(mark));
  roundings_ += size();
  ++compressions_;
}

std::int64_t Projection::count_below(double x) const {
  std::int64_t count = 0;
  for (const Block &block : blocks())
    count += unstuck::count_below(matrix(block), x);
  return count;
}

std::vector<double> Projection::current_roots() const {
  std::vector<double> roots = given_up_;
  const std::vector<Block> parts = blocks();
  if (!parts.empty() && parts.back().begin >= frozen_ && !run_beta_.empty()) {
    const std::vector<double> values = eigen(matrix(parts.back()), {}).values;
    roots.insert(roots.end(), values.begin(), values.end());
  }
  return roots;
}

std::vector<ResidualPolynomial> Projection::polynomials() const {
  std::vector<ResidualPolynomial> result = ended_;
  if (!run_beta_.empty())
    result.push_back({current_roots(), run_beta_, run_dimension_});
  return result;
}

Recurrence Projection::recurrence() const { return {alpha_, beta_, dimension_, restarts()}; }

double Projection::lower_bound(double delta) const {
  return compressions_ == 0 ? certificate_lower(recurrence(), delta)
                            : certificate_lower(polynomials(), delta);
}

double Projection::upper_bound(double delta) const {
  return compressions_ == 0 ? certificate_upper(recurrence(), delta)
                            : certificate_upper(polynomials(), delta);
}

std::int64_t Projection::predicted_steps(double delta, double target) const {
  if (compressions_ == 0)
    return unstuck::predicted_steps(recurrence(), delta, target);
  const Mark &mark = before_.steps > 0 ? before_ : last_;
  ResidualPolynomial earlier{
      {given_up_.begin(), given_up_.begin() + static_cast<std::ptrdiff_t>(mark.given_up)},
      {run_beta_.begin(), run_beta_.begin() + static_cast<std::ptrdiff_t>(mark.steps)},
      run_dimension_};
  earlier.roots.insert(earlier.roots.end(), mark.kept.begin(), mark.kept.end());
  const std::int64_t more = unstuck::predicted_steps(polynomials(), earlier, delta, target);
  return std::min(more, dimension_ - size());
}

} // namespace unstuck
