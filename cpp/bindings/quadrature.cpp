// Binds the lock-step probe recurrences and the quadrature rules of their measures.
#include <cmath>
#include <mutex>
#include <optional>

#include "unstuck/krylov/quadrature.hpp"
#include "unstuck/parallel.hpp"

#include "arrays.hpp"

namespace unstuck::bindings {
namespace {

std::span<const double> view(const CArray<double> &a) {
  return {a.data(), static_cast<std::size_t>(a.size())};
}

py::array_t<double> copied(std::span<const double> values) {
  return py::array_t<double>(static_cast<py::ssize_t>(values.size()), values.data());
}

template <class T> class ProbeState {
public:
  explicit ProbeState(const py::array &starts)
      : state_(shape(starts, 1), shape(starts, 0), readonly<T>(starts, "starts", {-1, -1})) {}

  // Calls f(state) while no other thread does.
  template <class F> auto with(bool release, F &&f) {
    const std::unique_lock lock(busy_, std::try_to_lock);
    require(lock.owns_lock(), "these probes are in use by another thread");
    std::optional<py::gil_scoped_release> released;
    if (release)
      released.emplace();
    return f(state_);
  }

private:
  static std::int64_t shape(const py::array &a, int axis) {
    require(a.ndim() == 2, "`starts` must have shape (probes, n), got ", describe(a));
    return a.shape(axis);
  }

  ProbeLanczos<T> state_;
  std::mutex busy_;
};

template <class T> py::array_t<T> next_rows(ProbeState<T> &self) {
  return self.with(false, [](const ProbeLanczos<T> &s) {
    auto rows = new_array<T>({s.probes(), s.n()});
    std::ranges::copy(s.next(), rows.mutable_data());
    return rows;
  });
}

template <class T> void push(ProbeState<T> &self, const py::array &w) {
  const auto shape =
      self.with(false, [](const auto &s) { return std::vector<std::int64_t>{s.probes(), s.n()}; });
  const auto rows = readonly<T>(w, "w", shape);
  self.with(true, [&](auto &s) { s.push(rows); });
}

template <class T> void bind_probes(py::module_ &m, const char *name) {
  using State = ProbeState<T>;
  py::class_<State>(m, name,
                    "Lanczos recurrences of several probes in lock-step, without a stored basis.")
      .def(py::init<const py::array &>(), py::arg("starts"))
      .def("next", &next_rows<T>, "The unit vectors to multiply, (probes, n).")
      .def("push", &push<T>, py::arg("w"), "Takes their products, (probes, n).")
      .def(
          "alpha",
          [](State &self, std::int64_t probe) {
            return self.with(false, [=](const auto &s) { return copied(s.alpha(probe)); });
          },
          py::arg("probe"), "Diagonal of a probe's tridiagonal matrix.")
      .def(
          "beta",
          [](State &self, std::int64_t probe) {
            return self.with(false, [=](const auto &s) { return copied(s.beta(probe)); });
          },
          py::arg("probe"), "Its couplings, the last one the residual.")
      .def_property_readonly(
          "steps",
          [](State &self) { return self.with(false, [](const auto &s) { return s.steps(); }); })
      .def_property_readonly(
          "exhausted",
          [](State &self) { return self.with(false, [](const auto &s) { return s.exhausted(); }); })
      .def_property_readonly("largest_product",
                             [](State &self) {
                               return self.with(false,
                                                [](const auto &s) { return s.largest_product(); });
                             })
      .def_property_readonly("asymmetry", [](State &self) {
        return self.with(false, [](const auto &s) { return s.asymmetry(); });
      });
}

// f(tridiagonal) without the interpreter's lock; entries must be finite.
template <class F> auto with_tridiagonal(const py::object &alpha, const py::object &beta, F &&f) {
  const auto d = input<double>(alpha, "alpha", {-1});
  const auto e = input<double>(beta, "beta", {-1});
  const py::gil_scoped_release release;
  for (const auto &entries : {view(d), view(e)})
    for (const double entry : entries)
      require(std::isfinite(entry), "`alpha` and `beta` must be finite, got ", entry);
  return f(Tridiagonal{view(d), view(e)});
}

py::tuple rule_arrays(const GaussRule &rule) {
  return py::make_tuple(copied(rule.nodes), copied(rule.weights));
}

py::array_t<double> bounds(const py::object &alpha, const py::object &beta, const py::object &x) {
  const auto points = input<double>(x, "x", {-1});
  auto result = new_array<double>({points.size(), 2});
  double *rows = result.mutable_data();
  with_tridiagonal(alpha, beta, [&](const Tridiagonal &t) {
    const std::int64_t k = t.size(), count = points.size();
    // about 40 ns per plane rotation, 1.5 k² of them
    parallel_blocks(count, count * k * k * 60, [&](std::int64_t i, int) {
      const Bounds found = chebyshev_markov(t, points.data()[i]);
      rows[2 * i] = found.lower;
      rows[2 * i + 1] = found.upper;
    });
    return 0;
  });
  return result;
}

} // namespace

void bind_quadrature(py::module_ &m) {
  bind_probes<float>(m, "Float32Probes");
  bind_probes<double>(m, "Float64Probes");
  m.def(
      "gauss_rule",
      [](const py::object &alpha, const py::object &beta) {
        return rule_arrays(
            with_tridiagonal(alpha, beta, [](const Tridiagonal &t) { return gauss(t); }));
      },
      py::arg("alpha"), py::arg("beta"), "(nodes, weights) of the Gauss rule.");
  m.def(
      "gauss_radau_rule",
      [](const py::object &alpha, const py::object &beta, double x) {
        return rule_arrays(
            with_tridiagonal(alpha, beta, [x](const Tridiagonal &t) { return gauss_radau(t, x); }));
      },
      py::arg("alpha"), py::arg("beta"), py::arg("x"),
      "(nodes, weights) of the rule with one node at x.");
  m.def("distribution_bounds", &bounds, py::arg("alpha"), py::arg("beta"), py::arg("x"),
        "(points, 2): lower and upper bound of the measure's distribution at every x.");
}

} // namespace unstuck::bindings
