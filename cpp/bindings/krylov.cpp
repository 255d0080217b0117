// Binds the Lanczos state machine, tridiagonal counts and eigenvalues, and the spectrum
// certificate.
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

py::array_t<double> tridiagonal_eigenvalues(const py::object &diagonal,
                                            const py::object &coupling) {
  const auto d = input<double>(diagonal, "diagonal", {-1});
  const auto e = input<double>(coupling, "coupling", {-1});
  for (const auto &a : {d, e})
    for (const double x : view(a))
      require(std::isfinite(x), "`diagonal` and `coupling` must be finite");
  TridiagonalEigen pairs;
  {
    const py::gil_scoped_release release;
    pairs = eigen({view(d), view(e)}, {});
  }
  return copied(pairs.values);
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

void bind_state(py::module_ &m) {
  py::class_<LanczosState>(
      m, "Lanczos", "Lanczos tridiagonalisation by reverse communication: v = next(); push(H @ v).")
      .def(py::init<std::int64_t, std::string, std::int64_t, py::object, py::object>(),
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
          py::arg("capacity"), "Allows more steps.")
      .def(
          "count_below",
          [](LanczosState &self, double x) {
            return self.with(false, [x](auto &s) { return s.count_below(x); });
          },
          py::arg("x"), "Number of Ritz values below x.")
      .def(
          "ritz_values",
          [](LanczosState &self) {
            return self.with(false, [](auto &s) { return copied(s.ritz_values()); });
          },
          "Ritz values, ascending.")
      .def(
          "residuals",
          [](LanczosState &self) {
            return self.with(false, [](auto &s) { return copied(s.residuals()); });
          },
          "Residual norms of the Ritz pairs, from beta and the eigenvectors of T.")
      .def(
          "ritz_vector",
          [](LanczosState &self, std::int64_t i) {
            return ritz_vectors(self, {i}).attr("reshape")(-1);
          },
          py::arg("i"), "Unit Ritz vector (n,) of ritz_values()[i].")
      .def("ritz_vectors", &ritz_vectors, py::arg("indices"),
           "Unit Ritz vectors (n, q), Fortran ordered.")
      .def(
          "basis_vector",
          [](const py::object &self, std::int64_t i) {
            return self.cast<LanczosState &>().with(
                false, [&](auto &s) -> py::array { return borrowed(s.basis_vector(i), self); });
          },
          py::arg("i"), "The i-th Lanczos vector (n,): a read-only view.")
      .def(
          "certificate_lower",
          [](LanczosState &self, double delta) {
            return self.with(false,
                             [delta](auto &s) { return certificate_lower(s.recurrence(), delta); });
          },
          py::arg("delta"), "At most the smallest eigenvalue with probability 1 - delta.")
      .def(
          "certificate_upper",
          [](LanczosState &self, double delta) {
            return self.with(false,
                             [delta](auto &s) { return certificate_upper(s.recurrence(), delta); });
          },
          py::arg("delta"), "At least the largest eigenvalue with probability 1 - delta.")
      .def(
          "predicted_steps",
          [](LanczosState &self, double delta, double target) {
            return self.with(
                false, [=](auto &s) { return predicted_steps(s.recurrence(), delta, target); });
          },
          py::arg("delta"), py::arg("target"),
          "Further steps until certificate_lower >= target; -1: cannot be told.")
      .def_property_readonly(
          "n", [](LanczosState &self) { return self.with(false, [](auto &s) { return s.n(); }); })
      .def_property_readonly("dimension",
                             [](LanczosState &self) {
                               return self.with(false, [](auto &s) { return s.dimension(); });
                             })
      .def_property_readonly(
          "capacity",
          [](LanczosState &self) { return self.with(false, [](auto &s) { return s.capacity(); }); })
      .def_property_readonly(
          "k",
          [](LanczosState &self) { return self.with(false, [](auto &s) { return s.steps(); }); })
      .def_property_readonly("alpha",
                             [](LanczosState &self) {
                               return self.with(false, [](auto &s) { return copied(s.alpha()); });
                             })
      .def_property_readonly("beta",
                             [](LanczosState &self) {
                               return self.with(false, [](auto &s) { return copied(s.beta()); });
                             })
      .def_property_readonly("restarts",
                             [](LanczosState &self) {
                               return self.with(false, [](auto &s) {
                                 const auto steps = s.recurrence().restarts;
                                 return Steps(steps.begin(), steps.end());
                               });
                             })
      .def_property_readonly("largest_product",
                             [](LanczosState &self) {
                               return self.with(false, [](auto &s) { return s.largest_product(); });
                             })
      .def_property_readonly("invariant",
                             [](LanczosState &self) {
                               return self.with(false, [](auto &s) { return s.invariant(); });
                             })
      .def_property_readonly("exhausted", [](LanczosState &self) {
        return self.with(false, [](auto &s) { return s.exhausted(); });
      });
}

} // namespace

void bind_krylov(py::module_ &m) {
  bind_state(m);
  m.def(
      "log_t",
      [](std::int64_t n, double delta) {
        require(n >= 1 && delta > 0.0 && delta < 1.0,
                "`n` must be at least 1 and `delta` in (0, 1), got ", n, " and ", delta);
        return log_t(n, delta);
      },
      py::arg("n"), py::arg("delta"),
      "ln t: a unit Gaussian direction overlaps a fixed one by less than t with probability <= "
      "delta.");
  m.def(
      "certificate_lower",
      [](const py::object &alpha, const py::object &beta, std::int64_t n, double delta,
         const Steps &restarts) {
        return with_recurrence(alpha, beta, n, restarts, [delta](const Recurrence &r) {
          return certificate_lower(r, delta);
        });
      },
      py::arg("alpha"), py::arg("beta"), py::arg("n"), py::arg("delta"),
      py::arg("restarts") = Steps{}, "At most the smallest eigenvalue with probability 1 - delta.");
  m.def(
      "certificate_upper",
      [](const py::object &alpha, const py::object &beta, std::int64_t n, double delta,
         const Steps &restarts) {
        return with_recurrence(alpha, beta, n, restarts, [delta](const Recurrence &r) {
          return certificate_upper(r, delta);
        });
      },
      py::arg("alpha"), py::arg("beta"), py::arg("n"), py::arg("delta"),
      py::arg("restarts") = Steps{}, "At least the largest eigenvalue with probability 1 - delta.");
  m.def(
      "predicted_steps",
      [](const py::object &alpha, const py::object &beta, std::int64_t n, double delta,
         double target, const Steps &restarts) {
        return with_recurrence(alpha, beta, n, restarts, [=](const Recurrence &r) {
          return predicted_steps(r, delta, target);
        });
      },
      py::arg("alpha"), py::arg("beta"), py::arg("n"), py::arg("delta"), py::arg("target"),
      py::arg("restarts") = Steps{},
      "Further steps until certificate_lower >= target; -1: cannot be told.");
  m.def(
      "tridiagonal_count",
      [](const py::object &diagonal, const py::object &coupling, double x) {
        const auto d = input<double>(diagonal, "diagonal", {-1});
        const auto e = input<double>(coupling, "coupling", {-1});
        return count_below({view(d), view(e)}, x);
      },
      py::arg("diagonal"), py::arg("coupling"), py::arg("x"),
      "Number of eigenvalues below x of a symmetric tridiagonal matrix.");
  m.def(
      "tridiagonal_eigenvalue",
      [](const py::object &diagonal, const py::object &coupling, std::int64_t i) {
        const auto d = input<double>(diagonal, "diagonal", {-1});
        const auto e = input<double>(coupling, "coupling", {-1});
        return eigenvalue({view(d), view(e)}, i);
      },
      py::arg("diagonal"), py::arg("coupling"), py::arg("i"),
      "The i-th smallest eigenvalue, by bisection.");
  m.def("tridiagonal_eigenvalues", &tridiagonal_eigenvalues, py::arg("diagonal"),
        py::arg("coupling"), "All eigenvalues, ascending, of a symmetric tridiagonal matrix.");
}

} // namespace unstuck::bindings
