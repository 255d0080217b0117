// Binds the update rules: names, hyper-parameters, slots, the pass over memory, and the codes of
// low-bit state.
#include <algorithm>
#include <cstring>
#include <optional>

#include "optim_arrays.hpp"

namespace unstuck::bindings {

RuleId checked_rule(const std::string &name, const std::vector<double> &hyper) {
  const RuleId rule = find_rule(name);
  const std::size_t expected = hyper_names(rule).size();
  require(hyper.size() == expected, "`hyper` of ", name, " must hold ", expected, " numbers, got ",
          hyper.size());
  return rule;
}

namespace {

using BlockRow = std::tuple<std::int64_t, std::int64_t, double, double, bool>;

optim::Format find_format(const std::string &name) {
  if (name == "bfloat16")
    return optim::Format::bfloat16;
  require(name == "theta" || name == "int8",
          "`format` must be \"theta\", \"bfloat16\" or \"int8\", got \"", name, "\"");
  return name == "int8" ? optim::Format::int8 : optim::Format::theta;
}

std::unique_ptr<BoundUpdate> make_update(const std::string &name, const std::vector<double> &hyper,
                                         std::int64_t n, bool wide,
                                         const std::vector<BlockRow> &rows,
                                         const std::string &format, bool nearest) {
  auto update = std::make_unique<BoundUpdate>();
  update->rule = checked_rule(name, hyper);
  require(n >= 1, "`theta` is empty; an update needs at least one parameter");
  update->n = n;
  update->format = find_format(format);
  update->slots = slot_infos(update->rule, hyper.data());
  for (const SlotInfo &slot : update->slots) {
    update->names.push_back(slot.name);
    if (update->format == optim::Format::int8)
      update->names.push_back(slot.name + "_scale");
  }
  std::vector<BlockSetting> blocks;
  for (const auto &[begin, end, rate, decay, trust] : rows)
    blocks.push_back({begin, end, rate, decay, trust});
  const auto rounding = nearest ? optim::Rounding::nearest : optim::Rounding::stochastic;
  if (wide)
    update->wide = std::make_unique<Update<double>>(update->rule, hyper.data(), n,
                                                    std::move(blocks), update->format, rounding);
  else
    update->single = std::make_unique<Update<float>>(update->rule, hyper.data(), n,
                                                     std::move(blocks), update->format, rounding);
  return update;
}

// What a step may do besides the rule.
struct Options {
  double scale, clip_norm, gradient_norm;
  std::optional<py::array> average;
  double average_decay;
  bool zero_gradient, refuse_non_finite, report;
};

template <class T>
py::tuple step(BoundUpdate &update, const std::vector<double> &hyper, double lr, std::int64_t t,
               py::array &theta, py::array &gradient, const py::list &slots, Options &options) {
  UpdateCall<T> call{hyper.data(), lr,     t, inout<T>(theta, "theta", {update.n}).data(),
                     nullptr,      nullptr};
  call.gradient = readonly<T>(gradient, "gradient", {update.n}).data();
  if (options.zero_gradient)
    call.zero = inout<T>(gradient, "gradient", {update.n}).data();
  require_disjoint(theta, "theta", gradient, "gradient");
  std::vector<std::pair<py::array, const char *>> others{{theta, "theta"}, {gradient, "gradient"}};
  if (options.average) {
    check_average(call, *options.average, update.n, options.average_decay);
    for (const auto &[other, name] : others)
      require_disjoint(other, name, *options.average, "average");
    others.emplace_back(*options.average, "average");
  }
  const std::vector<SlotArray> pointers = checked_slots<T>(update, slots, others);
  require(t >= 1, "`t` must be at least 1, the number of the first update, got ", t);
  call.slots = pointers.data();
  call.scale = options.scale;
  call.clip_norm = options.clip_norm;
  call.gradient_norm = options.gradient_norm;
  call.non_finite = options.refuse_non_finite ? NonFinite::refuse : NonFinite::propagate;
  std::vector<BlockReport> rows(options.report ? update.plan<T>().blocks() : 0);
  call.report = options.report ? rows.data() : nullptr;
  UpdateResult result;
  {
    const py::gil_scoped_release release;
    const std::scoped_lock lock(update.mutex);
    result = update.plan<T>().step(call);
  }
  if (!options.report || !result.done)
    return py::make_tuple(result.done, result.gradient, py::none());
  auto table = new_array<double>({static_cast<std::int64_t>(rows.size()), 4});
  double *cell = table.mutable_data();
  for (const BlockReport &row : rows)
    for (const double value : {row.gradient, row.theta, row.change, row.trust})
      *cell++ = value;
  return py::make_tuple(result.done, result.gradient, table);
}

py::tuple step_of_any_type(BoundUpdate &update, const std::vector<double> &hyper, double lr,
                           std::int64_t t, py::array theta, py::array gradient,
                           const py::list &slots, double scale, double clip_norm,
                           double gradient_norm, std::optional<py::array> average,
                           double average_decay, bool zero_gradient, bool refuse_non_finite,
                           bool report) {
  require(hyper.size() == hyper_names(update.rule).size(), "`hyper` of ", rule_name(update.rule),
          " must hold ", hyper_names(update.rule).size(), " numbers, got ", hyper.size());
  Options options{scale,         clip_norm,     gradient_norm,     std::move(average),
                  average_decay, zero_gradient, refuse_non_finite, report};
  if (update.single)
    return step<float>(update, hyper, lr, t, theta, gradient, slots, options);
  return step<double>(update, hyper, lr, t, theta, gradient, slots, options);
}

py::dict describe_rules() {
  py::dict rules;
  for (const std::string &name : rule_names()) {
    const RuleId rule = find_rule(name);
    const std::vector<std::string> fields = hyper_names(rule);
    const std::vector<double> defaults = default_hyper(rule);
    py::dict hyper;
    for (std::size_t k = 0; k < fields.size(); ++k)
      hyper[fields[k].c_str()] = defaults[k];
    rules[name.c_str()] = hyper;
  }
  return rules;
}

py::list describe_slots(const std::string &name, const std::vector<double> &hyper) {
  py::list slots;
  for (const SlotInfo &slot : slot_infos(checked_rule(name, hyper), hyper.data()))
    slots.append(py::make_tuple(slot.name, slot.positive, slot.start));
  return slots;
}

template <bool positive>
py::tuple encode_codes(const CArray<float> &values, bool nearest, std::uint32_t seed) {
  constexpr auto format = optim::Format::int8;
  const std::int64_t n = values.size(), padded = optim::padded(format, n);
  std::vector<float> copy(static_cast<std::size_t>(padded));
  std::copy_n(values.data(), n, copy.data());
  auto codes = new_array<std::uint8_t>({padded});
  auto scales = new_array<float>({(n + optim::kCodeBlock - 1) / optim::kCodeBlock});
  const auto encode = nearest ? &optim::encode_block<positive, optim::Rounding::nearest>
                              : &optim::encode_block<positive, optim::Rounding::stochastic>;
  for (std::int64_t at = 0; at < padded; at += optim::kCodeBlock) {
    optim::Bits words[optim::kCodeBlock / 4];
    const std::int64_t count = std::min(optim::kCodeBlock, padded - at);
    scales.mutable_data()[at / optim::kCodeBlock] =
        encode(copy.data() + at, count, optim::rounding_place(seed, at), words);
    std::memcpy(codes.mutable_data() + at, words, static_cast<std::size_t>(count));
  }
  return py::make_tuple(codes, scales);
}

template <bool positive>
py::array_t<float> decode_codes(const CArray<std::uint8_t> &codes, const CArray<float> &scales) {
  auto values = new_array<float>({codes.size()});
  for (std::int64_t at = 0; at < codes.size(); at += optim::kCodeBlock) {
    optim::Bits words[optim::kCodeBlock / 4];
    const std::int64_t count = std::min<std::int64_t>(optim::kCodeBlock, codes.size() - at);
    std::memcpy(words, codes.data() + at, static_cast<std::size_t>(count));
    optim::decode_block<positive>(words, scales.data()[at / optim::kCodeBlock], count,
                                  values.mutable_data() + at);
  }
  return values;
}

py::array_t<std::uint16_t> encode_bits(const CArray<float> &values, bool nearest,
                                       std::uint32_t seed) {
  using optim::Rounding;
  auto codes = new_array<std::uint16_t>({values.size()});
  for (std::int64_t i = 0; i < values.size(); ++i) {
    const auto bits = std::bit_cast<optim::Bits>(values.data()[i]);
    const bool nan = (bits & optim::kMagnitude) > optim::kInfinity;
    const float quiet = std::bit_cast<float>(nan ? bits | 0x400000u : bits);
    const optim::Bits random = optim::random_bits(optim::rounding_place(seed, i));
    codes.mutable_data()[i] = nearest ? optim::to_bfloat16<Rounding::nearest>(quiet, random)
                                      : optim::to_bfloat16<Rounding::stochastic>(quiet, random);
  }
  return codes;
}

void bind_codes(py::module_ &m) {
  m.def(
      "optim_encode",
      [](const py::object &values, bool positive, bool nearest, std::uint32_t seed) {
        const auto array = input<float>(values, "values", {-1});
        return positive ? encode_codes<true>(array, nearest, seed)
                        : encode_codes<false>(array, nearest, seed);
      },
      py::arg("values"), py::arg("positive"), py::arg("nearest"), py::arg("seed"),
      "(codes, scales) of float32 values in 8 bits, padded to groups of 32, a scale for every "
      "256.");
  m.def(
      "optim_decode",
      [](const py::object &codes, const py::object &scales, bool positive) {
        const auto from = input<std::uint8_t>(codes, "codes", {-1});
        require(from.size() % optim::code_group(optim::Format::int8) == 0,
                "`codes` must be whole groups of 32, got ", from.size());
        const std::int64_t blocks = (from.size() + optim::kCodeBlock - 1) / optim::kCodeBlock;
        const auto by = input<float>(scales, "scales", {blocks});
        return positive ? decode_codes<true>(from, by) : decode_codes<false>(from, by);
      },
      py::arg("codes"), py::arg("scales"), py::arg("positive"), "The values of 8-bit codes.");
  m.def(
      "optim_bfloat16",
      [](const py::object &values, bool nearest, std::uint32_t seed) {
        return encode_bits(input<float>(values, "values", {-1}), nearest, seed);
      },
      py::arg("values"), py::arg("nearest"), py::arg("seed"),
      "float32 values rounded to bfloat16, as its bits.");
  m.def(
      "optim_norm",
      [](const py::array &x) {
        if (is_type<float>(x)) {
          const auto values = readonly<float>(x, "gradient", {-1});
          const py::gil_scoped_release release;
          return vector_norm<float>(static_cast<std::int64_t>(values.size()), values.data());
        }
        const auto values = readonly<double>(x, "gradient", {-1});
        const py::gil_scoped_release release;
        return vector_norm<double>(static_cast<std::int64_t>(values.size()), values.data());
      },
      py::arg("gradient").noconvert(), "Euclidean norm in float64, without overflow.");
}

} // namespace

void bind_optim(py::module_ &m) {
  m.def(
      "optim_rules", &describe_rules,
      "{rule: {hyper-parameter: default}} of every update rule, in the order of the C++ structs.");
  m.def("optim_slots", &describe_slots, py::arg("rule"), py::arg("hyper"),
        "[(name, never negative, start)] of a rule's state vectors with these hyper-parameters.");
  m.def(
      "optim_layerwise", [](const std::string &rule) { return is_layerwise(find_rule(rule)); },
      py::arg("rule"), "Whether the rule scales each block by a trust ratio.");
  py::class_<BoundUpdate>(m, "OptimUpdate")
      .def(py::init(&make_update), py::arg("rule"), py::arg("hyper"), py::arg("n"), py::arg("wide"),
           py::arg("blocks"), py::arg("format"), py::arg("nearest"))
      .def_readonly("names", &BoundUpdate::names)
      .def("step", &step_of_any_type, py::arg("hyper"), py::arg("lr"), py::arg("t"),
           py::arg("theta").noconvert(), py::arg("gradient").noconvert(), py::arg("slots"),
           py::arg("scale") = 1.0, py::arg("clip_norm") = 0.0, py::arg("gradient_norm") = -1.0,
           py::arg("average").noconvert() = py::none(), py::arg("average_decay") = 0.0,
           py::arg("zero_gradient") = false, py::arg("refuse_non_finite") = false,
           py::arg("report") = false,
           "Update number t (from 1) in place: (done, gradient norm or -1, rows of block norms).");
  bind_codes(m);
}

} // namespace unstuck::bindings
