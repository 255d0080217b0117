// Binds the update rules: names, hyper-parameters, slots, and one update of a flat vector.
#include "unstuck/optim/step.hpp"

#include "arrays.hpp"

namespace unstuck::bindings {
namespace {

RuleId checked_rule(const std::string &name, const std::vector<double> &hyper) {
  const RuleId rule = find_rule(name);
  const std::size_t expected = hyper_names(rule).size();
  require(hyper.size() == expected, "`hyper` of ", name, " must hold ", expected, " numbers, got ",
          hyper.size());
  return rule;
}

// Slots as C++ sees them: checked one by one, then against everything else that the update touches.
template <class T>
std::vector<T *> checked_slots(const std::vector<std::string> &names, py::list &slots,
                               const py::array &theta, const py::array &gradient) {
  require(slots.size() == names.size(), "`slots` must hold ", names.size(), " arrays, got ",
          slots.size());
  std::vector<py::array> arrays;
  std::vector<T *> pointers;
  for (std::size_t k = 0; k < names.size(); ++k) {
    const char *name = names[k].c_str();
    require<ArgumentTypeError>(py::isinstance<py::array>(slots[k]), "`", name,
                               "` must be an array");
    arrays.push_back(py::reinterpret_borrow<py::array>(slots[k]));
    pointers.push_back(inout<T>(arrays[k], name, {theta.shape(0)}).data());
    require_disjoint(theta, "theta", arrays[k], name);
    require_disjoint(gradient, "gradient", arrays[k], name);
    for (std::size_t j = 0; j < k; ++j)
      require_disjoint(arrays[j], names[j].c_str(), arrays[k], name);
  }
  return pointers;
}

template <class T>
void step(const std::string &name, const std::vector<double> &hyper, double lr, std::int64_t t,
          py::array &theta, const py::array &gradient, py::list &slots, double gradient_scale) {
  const RuleId rule = checked_rule(name, hyper);
  const auto parameters = inout<T>(theta, "theta", {-1});
  require(!parameters.empty(), "`theta` is empty; an update needs at least one parameter");
  const auto g = readonly<T>(gradient, "gradient", {theta.shape(0)});
  require_disjoint(theta, "theta", gradient, "gradient");
  const auto pointers = checked_slots<T>(slot_names(rule, hyper.data()), slots, theta, gradient);
  require(t >= 1, "`t` must be at least 1, the number of the first update, got ", t);
  py::gil_scoped_release release;
  optimizer_step<T>(rule, hyper.data(), lr, t, theta.shape(0), parameters.data(), g.data(),
                    pointers.data(), gradient_scale);
}

void step_of_any_type(const std::string &name, const std::vector<double> &hyper, double lr,
                      std::int64_t t, py::array theta, const py::array &gradient, py::list slots,
                      double gradient_scale) {
  if (is_type<float>(theta)) {
    step<float>(name, hyper, lr, t, theta, gradient, slots, gradient_scale);
    return;
  }
  if (!is_type<double>(theta))
    require<ArgumentTypeError>(false, "`theta` must be float32 or float64, got ", describe(theta));
  step<double>(name, hyper, lr, t, theta, gradient, slots, gradient_scale);
}

} // namespace

void bind_optim(py::module_ &m) {
  m.def(
      "optim_rules",
      [] {
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
      },
      "{rule: {hyper-parameter: default}} of every update rule, in the order of the C++ structs.");
  m.def(
      "optim_slots",
      [](const std::string &rule, const std::vector<double> &hyper) {
        return slot_names(checked_rule(rule, hyper), hyper.data());
      },
      py::arg("rule"), py::arg("hyper"),
      "Names of the state vectors that a rule keeps with these hyper-parameters.");
  m.def("optim_step", &step_of_any_type, py::arg("rule"), py::arg("hyper"), py::arg("lr"),
        py::arg("t"), py::arg("theta").noconvert(), py::arg("gradient").noconvert(),
        py::arg("slots"), py::arg("gradient_scale") = 1.0,
        "Update number t (from 1) of theta and slots in place; the gradient is multiplied by "
        "gradient_scale.");
}

} // namespace unstuck::bindings
