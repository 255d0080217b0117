// The loops of every rule in float.
#include "loops.ipp"

namespace unstuck::optim {

template Loops<float> find_loops(RuleId, unsigned, const Coding &);
template Scalars<float> prepare(RuleId, const double *, double, std::int64_t, const BlockSetting &);

unsigned rule_variant(RuleId rule, const double *hyper) {
  return with_rule(rule, [hyper](auto r) {
    using Rule = decltype(r);
    return Rule::variant(read_hyper<Rule>(hyper));
  });
}

double trust_ratio(RuleId rule, const double *hyper, double lr, const BlockSetting &block,
                   double theta_norm, double update_norm) {
  return with_rule(rule, [&](auto r) {
    using Rule = decltype(r);
    if constexpr (kLayerwise<Rule>) {
      typename Rule::Hyper h = read_hyper<Rule>(hyper);
      h.weight_decay *= block.decay;
      if (block.trust && Rule::adapts(h))
        return Rule::trust(h, lr * block.rate, theta_norm, update_norm);
    }
    return 1.0;
  });
}

} // namespace unstuck::optim
