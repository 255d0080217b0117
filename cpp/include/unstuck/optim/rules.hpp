// The type list of all update rules. A rule is one struct (optim/rules/rule.hpp says what is in
// it).
#pragma once
#include "unstuck/optim/rules/adam.hpp"
#include "unstuck/optim/rules/composed.hpp"
#include "unstuck/optim/rules/layerwise.hpp"
#include "unstuck/optim/rules/momentum.hpp"
#include "unstuck/optim/rules/square.hpp"

namespace unstuck::optim {

// Every rule there is. Adding one: its struct and its name in the list of its family's file under
// optim/rules, its class in the family's file of python/unstuck/optim/families, its row in the
// family's table of cases under tests.
using Rules = decltype(std::tuple_cat(std::declval<MomentumRules>(), std::declval<SquareRules>(),
                                      std::declval<AdamRules>(), std::declval<LayerwiseRules>(),
                                      std::declval<ComposedRules>()));

} // namespace unstuck::optim
