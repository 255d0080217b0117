// ns per parameter and GB/s of every update rule, beside a copy of the same kind of arrays.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "timing.hpp"
#include "unstuck/optim/update.hpp"
#include "unstuck/parallel.hpp"

namespace {

using namespace unstuck;
using bench::median_seconds;
using Changes = std::map<std::string, double>;

// Every rule with its defaults, and these.
const std::vector<std::pair<std::string, Changes>> kOptions = {
    {"SGD", {{"momentum", 0.9}}},
    {"SGD", {{"momentum", 0.9}, {"nesterov", 1.0}, {"weight_decay", 1e-4}}},
    {"RMSProp", {{"centered", 1.0}, {"momentum", 0.9}}},
    {"Adam", {{"amsgrad", 1.0}}},
    {"LARS", {{"momentum", 0.9}, {"weight_decay", 1e-4}}},
};

const std::map<optim::Format, const char *> kFormats = {
    {optim::Format::theta, ""},
    {optim::Format::bfloat16, " bfloat16 state"},
    {optim::Format::int8, " int8 state"}};

template <class T> void bench_copy(const char *type, std::int64_t n) {
  const std::vector<T> from(static_cast<std::size_t>(n), T(1));
  std::vector<T> to(from.size());
  const double seconds = median_seconds([&] {
    parallel_ranges(n, 8'192, n, [&](std::int64_t begin, std::int64_t end) {
      std::copy(from.data() + begin, from.data() + end, to.data() + begin);
    });
  });
  // read, write, and the read of a line before it is written
  std::printf("%-13s %-44s %10lld %9.3f %8.1f\n", "copy", type, static_cast<long long>(n),
              seconds / n * 1e9, 3.0 * sizeof(T) * n / seconds * 1e-9);
}

template <class T>
void bench_rule(const char *type, RuleId rule, const Changes &changes, std::int64_t n,
                optim::Format format = optim::Format::theta) {
  std::vector<double> hyper = default_hyper(rule);
  const std::vector<std::string> names = hyper_names(rule);
  std::string text = type;
  for (std::size_t k = 0; k < names.size(); ++k)
    if (const auto found = changes.find(names[k]); found != changes.end()) {
      hyper[k] = found->second;
      text += " " + names[k];
    }
  text += kFormats.at(format);
  const std::size_t count = slot_infos(rule, hyper.data()).size();
  const std::size_t width = format == optim::Format::theta  ? sizeof(T)
                            : format == optim::Format::int8 ? 1
                                                            : 2;
  const auto elements = static_cast<std::size_t>(n);
  std::vector<std::vector<unsigned char>> slots(
      count, std::vector<unsigned char>((elements + 31) * width));
  std::vector<std::vector<float>> scales(count, std::vector<float>(elements / 256 + 1));
  std::vector<SlotArray> pointers;
  for (std::size_t k = 0; k < count; ++k)
    pointers.push_back({slots[k].data(), scales[k].data()});
  std::vector<T> theta(elements, T(1)), gradient(elements, T(0.5));
  Update<T> update(rule, hyper.data(), n, {}, format);
  UpdateCall<T> call{hyper.data(), 1e-3, 0, theta.data(), gradient.data(), pointers.data()};
  const auto step = [&] {
    ++call.t;
    update.step(call);
  };
  step();
  if (!(theta.front() < T(1) && theta.front() == theta.back()))
    throw std::runtime_error("a wrong answer: nothing is timed");
  const double seconds = median_seconds(step);
  const double bytes = 3.0 * sizeof(T) + 2.0 * static_cast<double>(count * width);
  std::printf("%-13s %-44s %10lld %9.3f %8.1f\n", rule_name(rule).c_str(), text.c_str(),
              static_cast<long long>(n), seconds / static_cast<double>(n) * 1e9,
              bytes * static_cast<double>(n) / seconds * 1e-9);
}

template <class T> void bench_type(const char *type, std::int64_t n) {
  bench_copy<T>(type, n);
  for (const std::string &name : rule_names()) {
    bench_rule<T>(type, find_rule(name), {}, n);
    const RuleId rule_id = find_rule(name);
    const bool keeps_state = !slot_infos(rule_id, default_hyper(rule_id).data()).empty();
    if (keeps_state && !is_layerwise(rule_id))
      for (const auto format : {optim::Format::bfloat16, optim::Format::int8})
        bench_rule<T>(type, rule_id, {}, n, format);
    for (const auto &[rule, changes] : kOptions)
      if (rule == name)
        bench_rule<T>(type, find_rule(name), changes, n);
  }
}

} // namespace

// Arguments: sizes; by default one that fits the second-level cache, one the last-level cache, one
// neither.
int main(int count, char **arguments) {
  std::vector<std::int64_t> sizes;
  for (int k = 1; k < count; ++k)
    sizes.push_back(std::max(1LL, std::atoll(arguments[k])));
  if (sizes.empty())
    sizes = {26'122, 1 << 20, 1 << 23};
  std::printf("%d threads, level %s\n%-13s %-44s %10s %9s %8s\n", unstuck::thread_count(),
              UNSTUCK_LEVEL, "rule", "type and options", "n", "ns/param", "GB/s");
  for (const std::int64_t n : sizes) {
    bench_type<float>("float32", n);
    bench_type<double>("float64", n);
  }
  return 0;
}
