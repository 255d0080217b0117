// Which Ritz pairs a thick restart keeps: the wanted end, and the isolated ones of the far end.
#pragma once
#include <cstdint>
#include <span>

namespace unstuck {

struct Split {
  std::int64_t low = 0, high = 0; // lowest and highest Ritz pairs
};

// `ritz`: all Ritz values of a full basis, ascending; `wanted`: pairs that are looked for, at the
// low end (`from_low`) or the high one. Counting from the far end, a Ritz value is isolated while
// the gap to its inner neighbour exceeds 5 % of what lies beyond that gap: such outliers, found
// again in every cycle, cost a step each, while a dense bulk is not worth a vector. Kept are at
// least one of the far end (both certificates need the outermost pair), at most three fifths of the
// basis, and of the wanted end as many as are looked for, two fifths of the rest at least; three
// vectors stay free.
Split restart_split(std::span<const double> ritz, std::int64_t wanted, bool from_low = true);

} // namespace unstuck
