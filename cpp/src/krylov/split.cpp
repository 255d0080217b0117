// Splits a full basis by its gaps.
#include "unstuck/krylov/split.hpp"

#include <algorithm>

#include "unstuck/error.hpp"

namespace unstuck {
namespace {

constexpr double kIsolated = 0.05; // gap over the width of the rest
constexpr std::int64_t kFree = 3;  // vectors that a cycle adds at least

} // namespace

Split restart_split(std::span<const double> ritz, std::int64_t wanted, bool from_low) {
  const auto m = static_cast<std::int64_t>(ritz.size());
  require(m >= kFree + 2, "a thick restart needs at least ", kFree + 2, " vectors, got ", m);
  require(wanted >= 1 && wanted <= m - kFree - 1, "`wanted` must be in [1, ", m - kFree - 1,
          "] for ", m, " vectors, got ", wanted);
  // distance of the i-th value, counted from the wanted end, from that end
  const auto at = [&](std::int64_t i) {
    const auto index = static_cast<std::size_t>(from_low ? i : m - 1 - i);
    return from_low ? ritz[index] - ritz.front() : ritz.back() - ritz[index];
  };
  std::int64_t far = 0;
  const std::int64_t most = std::min(3 * m / 5, m - kFree - wanted);
  while (far < most && at(m - 1 - far) - at(m - 2 - far) > kIsolated * at(m - 2 - far))
    ++far;
  far = std::max<std::int64_t>(far, 1);
  const std::int64_t near = std::min(std::max(wanted, 2 * (m - far) / 5), m - kFree - far);
  return from_low ? Split{near, far} : Split{far, near};
}

} // namespace unstuck
