// What a Lanczos run knows of its operator in scalars: the projected matrix, and for every run
// since a fresh start the polynomial of its residual.
//
// A thick restart keeps some Ritz pairs and goes on from the residual. The residual is still
// p(H)·v₁, and p has as roots all Ritz values that were given up and those of today, its leading
// coefficient is 1/∏β over all steps: the certificate survives. After it the projected matrix is an
// arrow (kept Ritz values, coupled to the next step by β·s_i) followed by a tridiagonal part.
// Source: K. Wu, H. Simon, SIAM J. Matrix Anal. Appl. 22 (2000), 602–616.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "unstuck/krylov/arrow.hpp"
#include "unstuck/krylov/certificate.hpp"

namespace unstuck {

// One Ritz pair of the projected matrix.
struct RitzPair {
  double value;
  double spike;                // H·y − θ·y = spike · (residual of the run, at unit length)
  bool current;                // of the run that goes on, not of one that has ended
  std::vector<double> weights; // size(): y in the basis; empty when not asked for
};

// What a compression does: row q of `weights` (size() each) is the q-th vector kept.
struct Compression {
  std::vector<RitzPair> kept; // those of runs that have ended first
  std::vector<double> given_up;
};

class Projection {
public:
  explicit Projection(std::int64_t dimension) : dimension_(dimension), run_dimension_(dimension) {}

  std::int64_t size() const { return static_cast<std::int64_t>(alpha_.size()); }
  std::int64_t products() const { return products_; } // steps of all runs and cycles
  std::int64_t compressions() const { return compressions_; }
  // Vectors that were rounded to storage: one per step, and the kept ones of every compression.
  std::int64_t roundings() const { return roundings_; }

  void reserve(std::size_t most);
  // vᵢᵀ·H·v for the vector v that is being multiplied, i < size(): 0, a spike or a coupling.
  double expected(std::int64_t i) const;
  void extend(double alpha, double beta);
  void begin_run(); // the next step belongs to a fresh start: the last β is neglected

  // Ritz pairs, ascending; `with_weights`: their vectors, too.
  std::vector<RitzPair> pairs(bool with_weights) const;
  // The `low` lowest and `high` highest Ritz pairs.
  Compression compression(std::int64_t low, std::int64_t high) const;
  void compress(const Compression &compression);

  std::int64_t count_below(double x) const;
  std::span<const double> alpha() const { return alpha_; }
  std::span<const double> beta() const { return beta_; }
  // Steps at which a fresh start began, since the last compression; not one without a step yet.
  std::span<const std::int64_t> restarts() const {
    return std::span(restarts_).first(restarts_.size() - fresh());
  }

  // The polynomials of all runs that have taken a step, in order.
  std::vector<ResidualPolynomial> polynomials() const;
  double lower_bound(double delta) const;
  double upper_bound(double delta) const;
  std::int64_t predicted_steps(double delta, double target) const;

private:
  struct Block {
    std::int64_t begin, end;
    bool arrow;
  };
  bool fresh() const { return !restarts_.empty() && restarts_.back() == size(); }
  std::vector<Block> blocks() const;
  Arrow matrix(const Block &block) const;
  Recurrence recurrence() const;
  std::vector<double> current_roots() const;
  void append_pairs(const Block &block, bool current, bool with_weights,
                    std::vector<RitzPair> &pairs) const;

  std::int64_t dimension_;
  std::vector<double> alpha_, beta_, coupling_, spikes_;
  std::int64_t frozen_ =
      0; // leading entries that belong to runs that have ended; spikes_ begin there
  std::vector<std::int64_t> restarts_;
  std::int64_t products_ = 0, compressions_ = 0, roundings_ = 0;

  std::vector<ResidualPolynomial> ended_;
  std::int64_t run_dimension_;              // of the space that the current run started in
  std::vector<double> run_beta_, given_up_; // of the current run
  struct Mark {                             // the current run as it was
    std::size_t steps = 0, given_up = 0;
    std::vector<double> kept;
  };
  Mark before_, last_; // at the two last compressions
};

} // namespace unstuck
