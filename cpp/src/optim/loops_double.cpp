// The loops of every rule in double.
#include "loops.ipp"

namespace unstuck::optim {

template Loops<double> find_loops(RuleId, unsigned, const Coding &);
template Scalars<double> prepare(RuleId, const double *, double, std::int64_t,
                                 const BlockSetting &);

} // namespace unstuck::optim
