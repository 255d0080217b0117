// Table of contents of the extension module: one bind_ function per subject, each in its own file.
#include "arrays.hpp"

namespace unstuck::bindings {
void bind_following(py::module_ &m);
void bind_krylov(py::module_ &m);
void bind_network(py::module_ &m);
void bind_norm(py::module_ &m);
void bind_objective(py::module_ &m);
void bind_optim(py::module_ &m);
void bind_parallel(py::module_ &m);
void bind_quadrature(py::module_ &m);
void bind_three_term(py::module_ &m);
} // namespace unstuck::bindings

PYBIND11_MODULE(UNSTUCK_MODULE, m) {
  using namespace unstuck::bindings;
  m.attr("__name__") = "unstuck._core"; // the name that types carry, whichever CPU level is loaded
  m.attr("__doc__") = "The C++ core of unstuck.";
  m.attr("level") = UNSTUCK_LEVEL;
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      std::rethrow_exception(pointer);
    } catch (const unstuck::ArgumentTypeError &error) {
      py::set_error(py::module_::import("unstuck.errors").attr("ArgumentTypeError"), error.what());
    } catch (const unstuck::ArgumentError &error) {
      py::set_error(py::module_::import("unstuck.errors").attr("ArgumentError"), error.what());
    }
  });
  bind_following(m);
  bind_krylov(m);
  bind_network(m);
  bind_norm(m);
  bind_objective(m);
  bind_optim(m);
  bind_parallel(m);
  bind_quadrature(m);
  bind_three_term(m);
}
