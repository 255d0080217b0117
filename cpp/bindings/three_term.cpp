// Binds Lanczos without a basis.
#include "unstuck/krylov/three_term.hpp"

#include <mutex>
#include <numeric>
#include <optional>
#include <variant>

#include "arrays.hpp"

namespace unstuck::bindings {
namespace {

// One Python object for both types; a second thread that calls while the first computes gets an
// error.
class ThreeTermState {
public:
  using State = std::variant<ThreeTermLanczos<float>, ThreeTermLanczos<double>>;

  ThreeTermState(std::int64_t n, const std::string &dtype, const py::object &start)
      : state_(make(n, dtype, start)) {}

  // Calls f(state) while no other thread does; `release`: without the interpreter's lock.
  template <class F> auto with(bool release, F &&f) {
    const std::unique_lock lock(busy_, std::try_to_lock);
    require(lock.owns_lock(), "this Lanczos state is in use by another thread");
    std::optional<py::gil_scoped_release> released;
    if (release)
      released.emplace();
    return std::visit(std::forward<F>(f), state_);
  }

  void push(const py::object &w) {
    if (std::holds_alternative<ThreeTermLanczos<float>>(state_))
      push_as<float>(w);
    else
      push_as<double>(w);
  }

private:
  template <class T> static State begin(std::int64_t n, const py::object &start) {
    const auto vector = input<T>(start, "start", {n});
    const py::gil_scoped_release release;
    return State(std::in_place_type<ThreeTermLanczos<T>>, n,
                 std::span<const T>(vector.data(), static_cast<std::size_t>(n)));
  }

  static State make(std::int64_t n, const std::string &dtype, const py::object &start) {
    require(dtype == "float32" || dtype == "float64",
            "`dtype` must be \"float32\" or \"float64\", got \"", dtype, "\"");
    require(n >= 1, "`n` must be at least 1, got ", n);
    return dtype == "float32" ? begin<float>(n, start) : begin<double>(n, start);
  }

  template <class T> void push_as(const py::object &w) {
    const auto product = input<T>(w, "w", {-1});
    with(true, [&](auto &s) {
      if constexpr (std::is_same_v<std::decay_t<decltype(s)>, ThreeTermLanczos<T>>)
        s.push(std::span<const T>(product.data(), static_cast<std::size_t>(product.size())));
    });
  }

  State state_;
  std::mutex busy_;
};

py::array_t<double> copied(std::span<const double> values) {
  return py::array_t<double>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::array next(const py::object &self) {
  return self.cast<ThreeTermState &>().with(false, [&](auto &s) -> py::array {
    const auto v = s.next();
    using T = typename decltype(v)::value_type;
    py::array_t<T> array(static_cast<py::ssize_t>(v.size()), v.data(), self);
    array.attr("flags").attr("writeable") = false;
    return array;
  });
}

// (q, k): eigenvectors of T, one per row.
py::array_t<double> weights(ThreeTermState &self, const std::vector<std::int64_t> &indices) {
  return self.with(false, [&](auto &s) {
    std::vector<std::int64_t> rows(static_cast<std::size_t>(s.steps()));
    std::iota(rows.begin(), rows.end(), std::int64_t{0});
    for (const std::int64_t i : indices)
      require(i >= 0 && i < s.steps(), "`indices` must be in [0, ", s.steps(), "), got ", i);
    const TridiagonalEigen pairs = eigen(s.tridiagonal(), rows);
    auto result = new_array<double>({static_cast<std::int64_t>(indices.size()), s.steps()});
    for (std::size_t q = 0; q < indices.size(); ++q)
      std::copy_n(pairs.components.data() + static_cast<std::size_t>(indices[q]) * rows.size(),
                  rows.size(), result.mutable_data() + q * rows.size());
    return result;
  });
}

// A method without arguments that reads the state.
template <class F> auto reading(F f) {
  return [f](ThreeTermState &self) { return self.with(false, f); };
}

using ThreeTermClass = py::class_<ThreeTermState>;

void bind_iteration(ThreeTermClass &type) {
  type.def(py::init<std::int64_t, std::string, py::object>(), py::arg("n"), py::arg("dtype"),
           py::arg("start"))
      .def("next", &next, "The unit vector (n,) to multiply next: a read-only view.")
      .def("push", &ThreeTermState::push, py::arg("w"),
           "Takes the product of the operator with next().")
      .def("weights", &weights, py::arg("indices"),
           "Eigenvectors of T, (q, k): what each Lanczos vector adds to a Ritz vector.")
      .def_property_readonly("n", reading([](auto &s) { return s.n(); }))
      .def_property_readonly("k", reading([](auto &s) { return s.steps(); }))
      .def_property_readonly("alpha", reading([](auto &s) { return copied(s.alpha()); }))
      .def_property_readonly("beta", reading([](auto &s) { return copied(s.beta()); }))
      .def_property_readonly("largest_product",
                             reading([](auto &s) { return s.largest_product(); }))
      .def_property_readonly("exhausted", reading([](auto &s) { return s.exhausted(); }));
}

void bind_bounds(ThreeTermClass &type) {
  type.def(
          "count_below",
          [](ThreeTermState &self, double x) {
            return self.with(false, [x](auto &s) { return count_below(s.tridiagonal(), x); });
          },
          py::arg("x"), "Number of Ritz values below x; copies of one eigenvalue count each.")
      .def(
          "certificate_lower",
          [](ThreeTermState &self, double delta) {
            return self.with(false,
                             [delta](auto &s) { return certificate_lower(s.recurrence(), delta); });
          },
          py::arg("delta"), "At most the smallest eigenvalue with probability 1 - delta.")
      .def(
          "certificate_upper",
          [](ThreeTermState &self, double delta) {
            return self.with(false,
                             [delta](auto &s) { return certificate_upper(s.recurrence(), delta); });
          },
          py::arg("delta"), "At least the largest eigenvalue with probability 1 - delta.")
      .def(
          "predicted_steps",
          [](ThreeTermState &self, double delta, double target) {
            return self.with(
                false, [=](auto &s) { return predicted_steps(s.recurrence(), delta, target); });
          },
          py::arg("delta"), py::arg("target"),
          "Further steps until certificate_lower >= target; -1: cannot be told.");
}

} // namespace

void bind_three_term(py::module_ &m) {
  ThreeTermClass type(m, "ThreeTermLanczos",
                      "Lanczos with three vectors: v = next(); push(H @ v). No basis, no vectors.");
  bind_iteration(type);
  bind_bounds(type);
}

} // namespace unstuck::bindings
