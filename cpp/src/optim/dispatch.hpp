// The one place where a rule's id becomes its type.
#pragma once
#include <utility>

#include "unstuck/error.hpp"
#include "unstuck/optim/registry.hpp"
#include "unstuck/optim/rules.hpp"

namespace unstuck::optim {

inline constexpr std::size_t kRules = std::tuple_size_v<Rules>;

template <class Rule> inline constexpr bool kLayerwise = requires { Rule::kMeasureWrites; };

template <class Rule> typename Rule::Hyper read_hyper(const double *values) {
  typename Rule::Hyper hyper;
  for (std::size_t k = 0; k < Rule::fields.size(); ++k)
    hyper.*Rule::fields[k].member = values[k];
  return hyper;
}

// Calls f with a value of the rule's type.
template <class F> auto with_rule(RuleId rule, F &&f) {
  using Result = decltype(f(std::tuple_element_t<0, Rules>{}));
  return [&]<std::size_t... K>(std::index_sequence<K...>) {
    using Entry = Result (*)(F &);
    constexpr Entry table[kRules] = {
        +[](F &call) -> Result { return call(std::tuple_element_t<K, Rules>{}); }...};
    const auto index = static_cast<std::size_t>(rule);
    require(index < kRules, "`rule` must be an index below ", kRules, ", got ", index);
    return table[index](f);
  }(std::make_index_sequence<kRules>{});
}

} // namespace unstuck::optim
