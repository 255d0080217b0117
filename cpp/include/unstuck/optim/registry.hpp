// The update rules by name: ids, hyper-parameters, state vectors.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace unstuck {

// Position of a rule in the type list of optim/rules.hpp.
enum class RuleId : int {};

RuleId find_rule(std::string_view name); // ArgumentError names the rules there are
std::vector<std::string> rule_names();
std::string rule_name(RuleId rule);

// Names and defaults of the hyper-parameters besides lr, in the order in which `hyper` everywhere
// holds them.
std::vector<std::string> hyper_names(RuleId rule);
std::vector<double> default_hyper(RuleId rule);

// Whether the rule scales each block by a trust ratio of norms.
bool is_layerwise(RuleId rule);

// A state vector: one element per parameter. `positive`: never below 0.
struct SlotInfo {
  std::string name;
  bool positive;
  double start;
};

// The state vectors that a rule keeps with these hyper-parameters, in order.
std::vector<SlotInfo> slot_infos(RuleId rule, const double *hyper);

} // namespace unstuck
