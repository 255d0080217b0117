// The update rules by name.
#include "unstuck/optim/registry.hpp"

#include "dispatch.hpp"

namespace unstuck {

using optim::Rules;
using optim::with_rule;

std::vector<std::string> rule_names() {
  return []<std::size_t... K>(std::index_sequence<K...>) {
    return std::vector<std::string>{std::string(std::tuple_element_t<K, Rules>::name)...};
  }(std::make_index_sequence<optim::kRules>{});
}

RuleId find_rule(std::string_view name) {
  const std::vector<std::string> names = rule_names();
  std::string list;
  for (std::size_t k = 0; k < names.size(); ++k) {
    if (names[k] == name)
      return static_cast<RuleId>(k);
    list += (k ? ", " : "") + names[k];
  }
  require(false, "`rule` must be one of ", list, ", got \"", name, "\"");
  return RuleId{};
}

std::string rule_name(RuleId rule) {
  return with_rule(rule, [](auto r) { return std::string(decltype(r)::name); });
}

std::vector<std::string> hyper_names(RuleId rule) {
  return with_rule(rule, [](auto r) {
    std::vector<std::string> names;
    for (const auto &field : decltype(r)::fields)
      names.emplace_back(field.name);
    return names;
  });
}

std::vector<double> default_hyper(RuleId rule) {
  return with_rule(rule, [](auto r) {
    const typename decltype(r)::Hyper hyper;
    std::vector<double> values;
    for (const auto &field : decltype(r)::fields)
      values.push_back(hyper.*field.member);
    return values;
  });
}

bool is_layerwise(RuleId rule) {
  return with_rule(rule, [](auto r) { return optim::kLayerwise<decltype(r)>; });
}

std::vector<SlotInfo> slot_infos(RuleId rule, const double *hyper) {
  return with_rule(rule, [hyper](auto r) {
    using Rule = decltype(r);
    const typename Rule::Hyper h = optim::read_hyper<Rule>(hyper);
    const optim::Slots slots = Rule::slots(Rule::variant(h));
    std::vector<SlotInfo> infos;
    for (int k = 0; k < slots.count; ++k) {
      const optim::Slot &slot = slots.slot[static_cast<std::size_t>(k)];
      double start = 0.0;
      if constexpr (requires { Rule::start(h, slot.name); })
        start = Rule::start(h, slot.name);
      infos.push_back({std::string(slot.name), slot.positive, start});
    }
    return infos;
  });
}

} // namespace unstuck
