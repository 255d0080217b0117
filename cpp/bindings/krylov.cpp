// Binds the Lanczos state machine, its thick restart, tridiagonal counts and eigenvalues, and the
// certificate of a spectrum's ends.
#include <cmath>
#include <mutex>
#include <optional>
#include <variant>

#include "unstuck/krylov/certificate.hpp"
#include "unstuck/krylov/lanczos.hpp"
#include "unstuck/krylov/tridiagonal.hpp"

#include "arrays.hpp"

namespace unstuck::bindings {
namespace {

using Steps = std::vector<std::int64_t>;

std::span<const double> view(const CArray<double> &a) {
  return {a.data(), static_cast<std::size_t>(a.size())};
}

py::array_t<double> copied(std::span<const double> values) {
  return py::array_t<double>(static_cast<py::ssize_t>(values.size()), values.data());
}

// One Python object for both storage types; a second thread that calls while the first computes
// gets an error.
class LanczosState {
public:
  using State = std::variant<Lanczos<float>, Lanczos<double>>;

  LanczosState(std::int64_t n, const std::string &dtype, std::int64_t capacity,
               const py::object &start, const py::object &locked)
      : state_(make(n, dtype, capacity, start, locked)) {}

  // Calls f(state) while no other thread does; `release`: without the interpreter's lock.
  template <class F> auto with(bool release, F &&f) {
    const std::unique_lock lock(busy_, std::try_to_lock);
    require(lock.owns_lock(), "this Lanczos state is in use by another thread");
    std::optional<py::gil_scoped_release> released;
    if (release)
      released.emplace();
    return std::visit(std::forward<F>(f), state_);
  }

private:
  static State make(std::int64_t n, const std::string &dtype, std::int64_t capacity,
                    const py::object &start, const py::object &locked) {
    require(dtype == "float32" || dtype == "float64",
            "`dtype` must be \"float32\" or \"float64\", got \"", dtype, "\"");
    require(n >= 1, "`n` must be at least 1, got ", n);
    const auto start_array = input<double>(start, "start", {n});
    CArray<double> rows(std::vector<py::ssize_t>{0, static_cast<py::ssize_t>(n)});
    if (!locked.is_none())
      rows = input<double>(locked, "locked", {-1, n});
    const py::gil_scoped_release release;
    if (dtype == "float32")
      return State(std::in_place_type<Lanczos<float>>, n, capacity, view(start_array), view(rows));
    return State(std::in_place_type<Lanczos<double>>, n, capacity, view(start_array), view(rows));
  }

  State state_;
  std::mutex busy_;
};

// A read-only array on memory of `owner`.
template <class T> py::array borrowed(std::span<const T> values, const py::object &owner) {
  py::array_t<T> array(static_cast<py::ssize_t>(values.size()), values.data(), owner);
  array.attr("flags").attr("writeable") = false;
  return array;
}

void push(LanczosState &self, const py::object &w) {
  const py::array raw = py::array::ensure(w);
  if (!raw)
    PyErr_Clear();
  if (raw && is_type<float>(raw)) {
    const auto product = input<float>(w, "w", {-1});
    self.with(true, [&](auto &s) {
      s.push(std::span<const float>(product.data(), static_cast<std::size_t>(product.size())));
    });
  } else {
    const auto product = input<double>(w, "w", {-1});
    self.with(true, [&](auto &s) { s.push(view(product)); });
  }
}

py::object ritz_vectors(LanczosState &self, const Steps &indices) {
  const auto n = self.with(false, [](auto &s) { return s.n(); });
  auto rows = new_array<double>({static_cast<std::int64_t>(indices.size()), n});
  const std::span<double> target(rows.mutable_data(), static_cast<std::size_t>(rows.size()));
  self.with(true, [&](auto &s) { s.ritz_vectors(indices, target); });
  return rows.attr("T");
}

// f(recurrence) without the interpreter's lock.
template <class F>
auto with_recurrence(const py::object &alpha, const py::object &beta, std::int64_t n,
                     const Steps &restarts, F &&f) {
  const auto a = input<double>(alpha, "alpha", {-1});
  const auto b = input<double>(beta, "beta", {-1});
  const py::gil_scoped_release release;
  return f(Recurrence{view(a), view(b), n, restarts});
}

// A method without arguments that reads the state.
template <class F> auto reading(F f) {
  return [f](LanczosState &self) { return self.with(false, f); };
}

using LanczosClass = py::class_<LanczosState>;

void bind_iteration(LanczosClass &type) {
  type.def(py::init<std::int64_t, std::string, std::int64_t, py::object, py::object>(),
           py::arg("n"), py::arg("dtype"), py::arg("capacity"), py::arg("start"),
           py::arg("locked") = py::none())
      .def(
          "next",
          [](const py::object &self) {
            return self.cast<LanczosState &>().with(
                false, [&](auto &s) -> py::array { return borrowed(s.next(), self); });
          },
          "The unit vector (n,) to multiply next: a read-only view.")
      .def("push", &push, py::arg("w"), "Takes the product of the operator with next().")
      .def(
          "restart",
          [](LanczosState &self, const py::object &start) {
            const auto vector = input<double>(start, "start", {-1});
            self.with(true, [&](auto &s) { s.restart(view(vector)); });
          },
          py::arg("start"),
          "Continues an invariant run from a fresh Gaussian vector; T becomes block diagonal.")
      .def(
          "raise_capacity",
          [](LanczosState &self, std::int64_t capacity) {
            self.with(false, [&](auto &s) { s.raise_capacity(capacity); });
          },
          py::arg("capacity"), "Allows more stored vectors.")
      .def(
          "compress",
          [](LanczosState &self, std::int64_t low, std::int64_t high) {
            self.with(true, [=](auto &s) { s.compress({low, high}); });
          },
          py::arg("low"), py::arg("high"),
          "Thick restart: keeps the lowest and the highest Ritz pairs and goes on from the "
          "residual.")
      .def(
          "basis_vector",
          [](const py::object &self, std::int64_t i) {
            return self.cast<LanczosState &>().with(
                false, [&](auto &s) -> py::array { return borrowed(s.basis_vector(i), self); });
          },
          py::arg("i"), "The i-th Lanczos vector (n,): a read-only view.");
}

void bind_ritz(LanczosClass &type) {
  type.def(
          "count_below",
          [](LanczosState &self, double x) {
            return self.with(false, [x](auto &s) { return s.count_below(x); });
          },
          py::arg("x"), "Number of Ritz values below x.")
      .def("ritz_values", reading([](auto &s) { return copied(s.ritz_values()); }),
           "Ritz values, ascending.")
      .def("residuals", reading([](auto &s) { return copied(s.residuals()); }),
           "Residual norms of the Ritz pairs, from beta and the eigenvectors of T.")
      .def(
          "ritz_vector",
          [](LanczosState &self, std::int64_t i) {
            return ritz_vectors(self, {i}).attr("reshape")(-1);
          },
          py::arg("i"), "Unit Ritz vector (n,) of ritz_values()[i].")
      .def("ritz_vectors", &ritz_vectors, py::arg("indices"),
           "Unit Ritz vectors (n, q), Fortran ordered.");
}

void bind_bounds(LanczosClass &type) {
  type.def(
          "certificate_lower",
          [](LanczosState &self, double delta) {
            return self.with(false, [delta](auto &s) { return s.lower_bound(delta); });
          },
          py::arg("delta"), "At most the smallest eigenvalue with probability 1 - delta.")
      .def(
          "certificate_upper",
          [](LanczosState &self, double delta) {
            return self.with(false, [delta](auto &s) { return s.upper_bound(delta); });
          },
          py::arg("delta"), "At least the largest eigenvalue with probability 1 - delta.")
      .def(
          "predicted_steps",
          [](LanczosState &self, double delta, double target) {
            return self.with(
                false, [=](auto &s) { return s.projection().predicted_steps(delta, target); });
          },
          py::arg("delta"), py::arg("target"),
          "Further steps until certificate_lower >= target; -1: cannot be told.");
}

void bind_properties(LanczosClass &type) {
  type.def_property_readonly("n", reading([](auto &s) { return s.n(); }))
      .def_property_readonly("dimension", reading([](auto &s) { return s.dimension(); }))
      .def_property_readonly("capacity", reading([](auto &s) { return s.capacity(); }))
      .def_property_readonly("k", reading([](auto &s) { return s.steps(); }))
      .def_property_readonly("alpha", reading([](auto &s) { return copied(s.alpha()); }))
      .def_property_readonly("beta", reading([](auto &s) { return copied(s.beta()); }))
      .def_property_readonly("restarts", reading([](auto &s) {
                               const auto steps = s.restarts();
                               return Steps(steps.begin(), steps.end());
                             }))
      .def_property_readonly("products", reading([](auto &s) { return s.projection().products(); }))
      .def_property_readonly("compressions",
                             reading([](auto &s) { return s.projection().compressions(); }))
      .def_property_readonly("roundings",
                             reading([](auto &s) { return s.projection().roundings(); }))
      .def_property_readonly(
          "polynomials", reading([](auto &s) {
            py::list runs;
            for (const ResidualPolynomial &run : s.projection().polynomials())
              runs.append(py::make_tuple(copied(run.roots), copied(run.beta), run.dimension));
            return runs;
          }))
      .def_property_readonly("largest_product",
                             reading([](auto &s) { return s.largest_product(); }))
      .def_property_readonly("asymmetry", reading([](auto &s) { return s.asymmetry(); }))
      .def_property_readonly("invariant", reading([](auto &s) { return s.invariant(); }))
      .def_property_readonly("exhausted", reading([](auto &s) { return s.exhausted(); }));
}

using Object = const py::object &;

// [(roots, beta, dimension), …] as the core has it.
std::vector<ResidualPolynomial> polynomials(const py::list &runs) {
  std::vector<ResidualPolynomial> result;
  for (const py::handle item : runs) {
    const auto run = py::cast<py::tuple>(item);
    require(run.size() == 3, "`runs` must hold tuples (roots, beta, dimension)");
    const auto roots = input<double>(run[0], "roots", {-1});
    const auto beta = input<double>(run[1], "beta", {-1});
    const auto a = view(roots), b = view(beta);
    result.push_back({{a.begin(), a.end()}, {b.begin(), b.end()}, run[2].cast<std::int64_t>()});
  }
  return result;
}

void bind_restarted_certificate(py::module_ &m) {
  m.def(
      "restarted_certificate_lower",
      [](const py::list &runs, double delta) {
        return certificate_lower(polynomials(runs), delta);
      },
      py::arg("runs"), py::arg("delta"),
      "At most the smallest eigenvalue, from Lanczos.polynomials.");
  m.def(
      "restarted_certificate_upper",
      [](const py::list &runs, double delta) {
        return certificate_upper(polynomials(runs), delta);
      },
      py::arg("runs"), py::arg("delta"),
      "At least the largest eigenvalue, from Lanczos.polynomials.");
  m.def(
      "restart_split",
      [](Object ritz, std::int64_t wanted, bool from_low) {
        const auto values = input<double>(ritz, "ritz", {-1});
        const Split split = restart_split(view(values), wanted, from_low);
        return std::pair(split.low, split.high);
      },
      py::arg("ritz"), py::arg("wanted"), py::arg("from_low") = true,
      "(low, high): how many Ritz pairs of either end a thick restart keeps.");
}

void bind_certificate(py::module_ &m) {
  m.def(
      "log_t",
      [](std::int64_t n, double delta) {
        require(n >= 1 && delta > 0.0 && delta < 1.0,
                "`n` must be at least 1 and `delta` in (0, 1), got ", n, " and ", delta);
        return log_t(n, delta);
      },
      py::arg("n"), py::arg("delta"),
      "ln t: a uniform unit vector overlaps a fixed one by less than t with probability <= delta.");
  m.def(
      "certificate_lower",
      [](Object alpha, Object beta, std::int64_t n, double delta, const Steps &restarts) {
        return with_recurrence(alpha, beta, n, restarts,
                               [=](const Recurrence &r) { return certificate_lower(r, delta); });
      },
      py::arg("alpha"), py::arg("beta"), py::arg("n"), py::arg("delta"),
      py::arg("restarts") = Steps{}, "At most the smallest eigenvalue with probability 1 - delta.");
  m.def(
      "certificate_upper",
      [](Object alpha, Object beta, std::int64_t n, double delta, const Steps &restarts) {
        return with_recurrence(alpha, beta, n, restarts,
                               [=](const Recurrence &r) { return certificate_upper(r, delta); });
      },
      py::arg("alpha"), py::arg("beta"), py::arg("n"), py::arg("delta"),
      py::arg("restarts") = Steps{}, "At least the largest eigenvalue with probability 1 - delta.");
  m.def(
      "predicted_steps",
      [](Object alpha, Object beta, std::int64_t n, double delta, double target,
         const Steps &restarts) {
        return with_recurrence(alpha, beta, n, restarts, [=](const Recurrence &r) {
          return predicted_steps(r, delta, target);
        });
      },
      py::arg("alpha"), py::arg("beta"), py::arg("n"), py::arg("delta"), py::arg("target"),
      py::arg("restarts") = Steps{},
      "Further steps until certificate_lower >= target; -1: cannot be told.");
}

// f(tridiagonal) without the interpreter's lock; entries must be finite and as many as needed.
template <class F> auto with_tridiagonal(Object diagonal, Object coupling, F &&f) {
  const auto d = input<double>(diagonal, "diagonal", {-1});
  const auto e = input<double>(coupling, "coupling", {-1});
  const py::gil_scoped_release release;
  for (const auto &entries : {view(d), view(e)})
    for (const double x : entries)
      require(std::isfinite(x), "`diagonal` and `coupling` must be finite, got ", x);
  return f(Tridiagonal{view(d), view(e)});
}

void bind_tridiagonal(py::module_ &m) {
  m.def(
      "tridiagonal_count",
      [](Object diagonal, Object coupling, double x) {
        return with_tridiagonal(diagonal, coupling,
                                [x](const Tridiagonal &t) { return count_below(t, x); });
      },
      py::arg("diagonal"), py::arg("coupling"), py::arg("x"),
      "Number of eigenvalues below x of a symmetric tridiagonal matrix.");
  m.def(
      "tridiagonal_eigenvalue",
      [](Object diagonal, Object coupling, std::int64_t i) {
        return with_tridiagonal(diagonal, coupling,
                                [i](const Tridiagonal &t) { return eigenvalue(t, i); });
      },
      py::arg("diagonal"), py::arg("coupling"), py::arg("i"),
      "The i-th smallest eigenvalue, by bisection.");
  m.def(
      "tridiagonal_eigenvalues",
      [](Object diagonal, Object coupling) {
        return copied(with_tridiagonal(diagonal, coupling, [](const Tridiagonal &t) {
                        return eigen(t, {});
                      }).values);
      },
      py::arg("diagonal"), py::arg("coupling"),
      "All eigenvalues, ascending, of a symmetric tridiagonal matrix.");
}

} // namespace

void bind_krylov(py::module_ &m) {
  LanczosClass type(
      m, "Lanczos",
      "Lanczos tridiagonalisation by reverse communication: v = next(); push(H @ v).");
  bind_iteration(type);
  bind_ritz(type);
  bind_bounds(type);
  bind_properties(type);
  bind_certificate(m);
  bind_restarted_certificate(m);
  bind_tridiagonal(m);
}

} // namespace unstuck::bindings
