// Pairs of sums over runs of elements: moments, and the sums of a backward pass.
//
// In double they cost more time than fetching the elements. For float the terms are therefore
// formed in float and added so over blocks of 256, in which every partial sum has at most 17
// elements, and the blocks are summed in double: rounding stays that of a few operations on the
// terms. Where the caller finds that this does not suffice (a range exceeded, digits cancelled) the
// sums are taken again in double throughout.
#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "unstuck/norm/stream.hpp"

namespace unstuck::norm {

inline constexpr std::int64_t kSumLanes = 16, kBlockSteps = 16; // 16 steps of 16 elements
inline constexpr double kNearOrigin = 1.0 / 16.0;
inline constexpr double kSmallestSquare = 0x1p-90, kLargestSquare = 0x1p100;

// How a formula reads arrays of T when its terms are formed in `Term`: one element, or a vector of
// them.
template <class Term> struct OneAs {
  static Term constant(double value) { return static_cast<Term>(value); }
  template <class T> static Term load(const T *from) { return static_cast<Term>(*from); }
};
template <class Term> struct SeveralAs {
  static constexpr std::size_t width = kVectorBytes / sizeof(Term);
  typedef Term Vector __attribute__((vector_size(kVectorBytes)));
  static Term constant(double value) { return static_cast<Term>(value); }
  template <class T> static Vector load(const T *from) {
    typedef T Narrow __attribute__((vector_size(width * sizeof(T))));
    Narrow values;
    __builtin_memcpy(&values, from, sizeof values);
    return __builtin_convertvector(values, Vector);
  }
};

template <class Term> class BlockSums {
public:
  // Adds value(at, i), a pair, for i = 0 … count−1; `fetch_at(i)` fetches what is read later.
  template <class Value, class FetchAt>
  void add(std::int64_t count, const Value &value, const FetchAt &fetch_at) {
    constexpr std::int64_t block =
        std::is_same_v<Term, double> ? kSumLanes : kSumLanes * kBlockSteps;
    std::int64_t i = 0;
    while (i + kSumLanes <= count) {
      const std::int64_t whole = (count - i) / kSumLanes * kSumLanes,
                         end = i + std::min(block, whole);
      Vector first[kParts] = {}, second[kParts] = {};
      for (; i < end; i += kSumLanes) {
        fetch_at(i);
        for (std::size_t part = 0; part < kParts; ++part) {
          const auto v = value(Many{}, i + static_cast<std::int64_t>(part * Many::width));
          first[part] += v[0];
          second[part] += v[1];
        }
      }
      add_lanes(first, first_);
      add_lanes(second, second_);
    }
    for (; i < count; ++i) {
      const auto v = value(OneAs<Term>{}, i);
      rest_[0] += static_cast<double>(v[0]);
      rest_[1] += static_cast<double>(v[1]);
    }
  }

  std::array<double, 2> total() const { return {rest_[0] + all(first_), rest_[1] + all(second_)}; }

private:
  using Many = SeveralAs<Term>;
  using Vector = typename Many::Vector;
  static constexpr std::size_t kParts = kSumLanes / Many::width,
                               kWideWidth = kVectorBytes / sizeof(double),
                               kHalves = Many::width / kWideWidth;
  typedef Term Half __attribute__((vector_size(kWideWidth * sizeof(Term))));
  typedef double Wide __attribute__((vector_size(kVectorBytes)));

  static void add_lanes(Vector *parts, Wide *to) {
    for (std::size_t step = kParts / 2; step > 0; step /= 2)
      for (std::size_t part = 0; part < step; ++part)
        parts[part] += parts[part + step];
    for (std::size_t half = 0; half < kHalves; ++half) {
      Half values;
      __builtin_memcpy(&values, reinterpret_cast<const char *>(parts) + half * sizeof values,
                       sizeof values);
      to[half] += __builtin_convertvector(values, Wide);
    }
  }
  static double all(const Wide *lanes) {
    Wide sum = lanes[0];
    for (std::size_t half = 1; half < kHalves; ++half)
      sum += lanes[half];
    double total = sum[0];
    for (std::size_t k = 1; k < kWideWidth; ++k)
      total += sum[k];
    return total;
  }

  Wide first_[kHalves] = {}, second_[kHalves] = {};
  double rest_[2] = {}; // of runs that are no multiple of 16 long
};

// The two sums of all runs: each_run(add) calls add(count, value, fetch_at) for each of them.
template <class T, class EachRun, class Suffices>
std::array<double, 2> pair_of_sums(const EachRun &each_run, const Suffices &suffices) {
  const auto sums = [&](auto term) {
    BlockSums<decltype(term)> s;
    each_run([&](std::int64_t count, const auto &value, const auto &fetch_at) {
      s.add(count, value, fetch_at);
    });
    return s.total();
  };
  if constexpr (std::is_same_v<T, float>)
    if (const auto s = sums(0.0f); suffices(s))
      return s;
  return sums(0.0);
}

// x − K and its square.
template <class T> auto moment_terms(const T *x, double origin) {
  return [=](auto at, std::int64_t i) {
    const auto d = at.load(x + i) - at.constant(origin);
    return std::array{d, d * d};
  };
}

// Whether moments of `count` elements in float can be trusted: no range exceeded and, if the mean
// is wanted, K within a few deviations of it.
inline bool moments_suffice(double count, bool centered, const std::array<double, 2> &s) {
  const double square = count * s[1], mean = centered ? s[0] * s[0] : 0.0, n = count * count;
  return square > kSmallestSquare * n && square < kLargestSquare * n &&
         square - mean > kNearOrigin * square;
}

inline bool are_finite(const std::array<double, 2> &s) {
  return std::isfinite(s[0]) && std::isfinite(s[1]);
}

} // namespace unstuck::norm
