// The loop of every rule, combination of options and type, and the tables that find them by id.
#include "unstuck/optim/step.hpp"

#include <bit>
#include <cstring>
#include <utility>

#include "unstuck/error.hpp"
#include "unstuck/optim/rules.hpp"
#include "unstuck/parallel.hpp"

namespace unstuck {
namespace {

using optim::Rules;

// Elements per block: long enough for the prefetcher, short enough to share small networks.
constexpr std::int64_t kBlock = 8'192;
// Nanoseconds per parameter when everything is in cache, from 0.1 (SGD) to 0.5 (Adam, float32).
constexpr double kWork = 0.5;

template <class Rule> typename Rule::Hyper read_hyper(const double *values) {
  typename Rule::Hyper hyper;
  for (std::size_t k = 0; k < Rule::fields.size(); ++k)
    hyper.*Rule::fields[k].member = values[k];
  return hyper;
}

// Calls f with a value of the rule's type; the one place where an id becomes a type.
template <class F> auto with_rule(RuleId rule, F &&f) {
  using Result = decltype(f(optim::SGD{}));
  constexpr std::size_t count = std::tuple_size_v<Rules>;
  return [&]<std::size_t... K>(std::index_sequence<K...>) {
    using Entry = Result (*)(F &);
    constexpr Entry table[count] = {
        +[](F &call) -> Result { return call(std::tuple_element_t<K, Rules>{}); }...};
    const auto index = static_cast<std::size_t>(rule);
    require(index < count, "`rule` must be an index below ", count, ", got ", index);
    return table[index](f);
  }(std::make_index_sequence<count>{});
}

template <class Rule, unsigned option, class T>
void loop(const T *scalars, T gradient_scale, std::int64_t begin, std::int64_t end, T *theta,
          const T *gradient, T *const *slots) {
  constexpr int count = Rule::slots(option).count;
  typename Rule::template Scalars<T> c;
  std::memcpy(&c, scalars, sizeof(c));
  T *slot[optim::kMaxSlots] = {};
  for (int k = 0; k < count; ++k)
    slot[k] = slots[k];
#pragma GCC ivdep
  for (std::int64_t i = begin; i < end; ++i) {
    T state[optim::kMaxSlots] = {}, parameter = theta[i];
    for (int k = 0; k < count; ++k)
      state[k] = slot[k][i];
    Rule::template step<option>(c, parameter, gradient[i] * gradient_scale, state);
    theta[i] = parameter;
    for (int k = 0; k < count; ++k)
      slot[k][i] = state[k];
  }
}

template <class Rule, class T> typename PreparedStep<T>::Loop find_loop(unsigned option) {
  return [&]<unsigned... V>(std::integer_sequence<unsigned, V...>) {
    static constexpr typename PreparedStep<T>::Loop table[] = {&loop<Rule, V, T>...};
    return table[option];
  }(std::make_integer_sequence<unsigned, Rule::kVariants>{});
}

} // namespace

std::vector<std::string> rule_names() {
  return []<std::size_t... K>(std::index_sequence<K...>) {
    return std::vector<std::string>{std::string(std::tuple_element_t<K, Rules>::name)...};
  }(std::make_index_sequence<std::tuple_size_v<Rules>>{});
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

std::vector<std::string> slot_names(RuleId rule, const double *hyper) {
  return with_rule(rule, [hyper](auto r) {
    using Rule = decltype(r);
    const optim::SlotNames slots = Rule::slots(Rule::variant(read_hyper<Rule>(hyper)));
    return std::vector<std::string>(slots.name.begin(), slots.name.begin() + slots.count);
  });
}

template <class T>
PreparedStep<T> prepare_step(RuleId rule, const double *hyper, double lr, std::int64_t t,
                             double gradient_scale) {
  return with_rule(rule, [&](auto r) {
    using Rule = decltype(r);
    using Scalars = typename Rule::template Scalars<T>;
    static_assert(sizeof(typename Rule::Hyper) == Rule::fields.size() * sizeof(double));
    static_assert(sizeof(Scalars) <= PreparedStep<T>::kMaxScalars * sizeof(T));
    const typename Rule::Hyper h = read_hyper<Rule>(hyper);
    const Scalars c = Rule::template prepare<T>(h, lr, t);
    std::array<T, PreparedStep<T>::kMaxScalars> scalars{};
    std::memcpy(scalars.data(), &c, sizeof(c));
    return PreparedStep<T>(find_loop<Rule, T>(Rule::variant(h)), scalars, T(gradient_scale));
  });
}

template <class T>
void optimizer_step(RuleId rule, const double *hyper, double lr, std::int64_t t, std::int64_t n,
                    T *theta, const T *gradient, T *const *slots, double gradient_scale) {
  const PreparedStep<T> update = prepare_step<T>(rule, hyper, lr, t, gradient_scale);
  const auto work = static_cast<std::int64_t>(kWork * static_cast<double>(n));
  parallel_ranges(n, kBlock, work, [&](std::int64_t begin, std::int64_t end) {
    update.apply(begin, end, theta, gradient, slots);
  });
}

template PreparedStep<float> prepare_step(RuleId, const double *, double, std::int64_t, double);
template PreparedStep<double> prepare_step(RuleId, const double *, double, std::int64_t, double);
template void optimizer_step(RuleId, const double *, double, std::int64_t, std::int64_t, float *,
                             const float *, float *const *, double);
template void optimizer_step(RuleId, const double *, double, std::int64_t, std::int64_t, double *,
                             const double *, double *const *, double);

} // namespace unstuck
