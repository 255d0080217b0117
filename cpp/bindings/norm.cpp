// Binds the normalisation kernels on arrays (N, C, S); shapes are brought to that form in Python.
#include "arrays.hpp"
#include "unstuck/norm/batch_norm.hpp"
#include "unstuck/norm/row_norm.hpp"

namespace unstuck::bindings {
namespace {

using norm::Shape;

template <class T>
const T *optional_input(const py::object &object, const char *name,
                        const std::vector<std::int64_t> &shape) {
  if (object.is_none())
    return nullptr;
  return readonly<T>(object.cast<py::array>(), name, shape).data();
}

template <class T>
T *optional_output(const py::object &object, const char *name,
                   const std::vector<std::int64_t> &shape) {
  if (object.is_none())
    return nullptr;
  auto array = object.cast<py::array>();
  return inout<T>(array, name, shape).data();
}

Shape shape_of(const py::array &x) {
  require(x.ndim() == 3, "`x` must have shape (N, C, S), got ", describe(x));
  return {x.shape(0), x.shape(1), x.shape(2)};
}

std::vector<std::int64_t> extents(Shape s) { return {s.samples, s.channels, s.spatial}; }

// Calls f with a value of the element type of x.
template <class F> auto by_type(const py::array &x, F &&f) {
  if (is_type<float>(x))
    return f(float{});
  require<ArgumentTypeError>(is_type<double>(x), "`x` must be float32 or float64, got ",
                             describe(x));
  return f(double{});
}

// given: the statistics are read, else they are those of x and written.
void batch_forward(const py::array &x, bool given, double epsilon, py::array mean,
                   py::array variance, py::array inverse_deviation, const py::object &gamma,
                   const py::object &beta, const py::object &residual, bool relu, py::array y) {
  const Shape shape = shape_of(x);
  by_type(x, [&](auto zero) {
    using T = decltype(zero);
    const std::int64_t c = shape.channels;
    const T *data = readonly<T>(x, "x", extents(shape)).data();
    double *mu = inout<double>(mean, "mean", {c}).data(),
           *var = inout<double>(variance, "variance", {c}).data(),
           *r = inout<double>(inverse_deviation, "inverse_deviation", {c}).data();
    const norm::Affine<T> affine{optional_input<T>(gamma, "gamma", {c}),
                                 optional_input<T>(beta, "beta", {c}),
                                 optional_input<T>(residual, "residual", extents(shape)), relu};
    T *out = inout<T>(y, "out", extents(shape)).data();
    const py::gil_scoped_release release;
    if (given)
      norm::batch_norm_apply<T>(shape, data, mu, r, affine, out);
    else
      norm::batch_norm_forward<T>(shape, epsilon, data, affine, mu, var, r, out);
  });
}

void batch_backward(const py::array &d_y, const py::array &x, const py::object &y,
                    const py::array &mean, const py::array &inverse_deviation,
                    const py::object &gamma, bool of_batch, py::array d_x,
                    const py::object &d_gamma, const py::object &d_beta,
                    const py::object &d_residual) {
  const Shape shape = shape_of(x);
  by_type(x, [&](auto zero) {
    using T = decltype(zero);
    const std::int64_t c = shape.channels;
    const T *delta = readonly<T>(d_y, "d_y", extents(shape)).data(),
            *data = readonly<T>(x, "x", extents(shape)).data(),
            *output = optional_input<T>(y, "y", extents(shape)),
            *scale = optional_input<T>(gamma, "gamma", {c});
    const double *mu = readonly<double>(mean, "mean", {c}).data(),
                 *r = readonly<double>(inverse_deviation, "inverse_deviation", {c}).data();
    const norm::Gradients<T> gradients{
        inout<T>(d_x, "out", extents(shape)).data(), optional_output<T>(d_gamma, "d_gamma", {c}),
        optional_output<T>(d_beta, "d_beta", {c}),
        optional_output<T>(d_residual, "d_residual", extents(shape))};
    const py::gil_scoped_release release;
    norm::batch_norm_backward<T>(shape, delta, data, output, mu, r, scale, of_batch, gradients);
  });
}

norm::Rows rows_of(const py::array &x, std::int64_t groups, bool centered) {
  const Shape shape = shape_of(x);
  require(groups >= 1 && shape.channels % groups == 0, "`groups` must divide the ", shape.channels,
          " channels, got ", groups);
  return {shape, groups, centered};
}

py::tuple row_forward(const py::array &x, std::int64_t groups, bool centered, double epsilon,
                      const py::object &gamma, const py::object &beta, py::array y) {
  const norm::Rows rows = rows_of(x, groups, centered);
  auto mean = new_array<double>({rows.count()}),
       inverse_deviation = new_array<double>({rows.count()});
  by_type(x, [&](auto zero) {
    using T = decltype(zero);
    const auto shape = extents(rows.shape);
    const T *data = readonly<T>(x, "x", shape).data(),
            *scale = optional_input<T>(gamma, "gamma", {rows.shape.channels}),
            *shift = optional_input<T>(beta, "beta", {rows.shape.channels});
    T *out = inout<T>(y, "out", shape).data();
    const py::gil_scoped_release release;
    norm::row_norm_forward<T>(rows, epsilon, data, scale, shift, out, mean.mutable_data(),
                              inverse_deviation.mutable_data());
  });
  return py::make_tuple(mean, inverse_deviation);
}

void row_backward(const py::array &d_y, const py::array &x, std::int64_t groups, bool centered,
                  const py::array &mean, const py::array &inverse_deviation,
                  const py::object &gamma, py::array d_x, const py::object &d_gamma,
                  const py::object &d_beta) {
  const norm::Rows rows = rows_of(x, groups, centered);
  by_type(x, [&](auto zero) {
    using T = decltype(zero);
    const auto shape = extents(rows.shape);
    const std::int64_t c = rows.shape.channels;
    const T *delta = readonly<T>(d_y, "d_y", shape).data(),
            *data = readonly<T>(x, "x", shape).data(),
            *scale = optional_input<T>(gamma, "gamma", {c});
    const double *mu = readonly<double>(mean, "mean", {rows.count()}).data(),
                 *r = readonly<double>(inverse_deviation, "inverse_deviation", {rows.count()})
                          .data();
    const norm::Gradients<T> gradients{inout<T>(d_x, "out", shape).data(),
                                       optional_output<T>(d_gamma, "d_gamma", {c}),
                                       optional_output<T>(d_beta, "d_beta", {c}), nullptr};
    const py::gil_scoped_release release;
    norm::row_norm_backward<T>(rows, delta, data, mu, r, scale, gradients);
  });
}

} // namespace

void bind_norm(py::module_ &m) {
  m.def("batch_norm_forward", &batch_forward, py::arg("x"), py::arg("given"), py::arg("epsilon"),
        py::arg("mean"), py::arg("variance"), py::arg("inverse_deviation"), py::arg("gamma"),
        py::arg("beta"), py::arg("residual"), py::arg("relu"), py::arg("out").noconvert(),
        "Fills `out`, and the statistics unless they are given; see unstuck.norm.");
  m.def("batch_norm_backward", &batch_backward, py::arg("d_y"), py::arg("x"), py::arg("y"),
        py::arg("mean"), py::arg("inverse_deviation"), py::arg("gamma"), py::arg("of_batch"),
        py::arg("out").noconvert(), py::arg("d_gamma"), py::arg("d_beta"), py::arg("d_residual"),
        "Fills `out` and the gradients that are not None; see unstuck.norm.");
  m.def("row_norm_forward", &row_forward, py::arg("x"), py::arg("groups"), py::arg("centered"),
        py::arg("epsilon"), py::arg("gamma"), py::arg("beta"), py::arg("out").noconvert(),
        "Fills `out`; (mean, inverse deviation) of every row. See unstuck.norm.");
  m.def("row_norm_backward", &row_backward, py::arg("d_y"), py::arg("x"), py::arg("groups"),
        py::arg("centered"), py::arg("mean"), py::arg("inverse_deviation"), py::arg("gamma"),
        py::arg("out").noconvert(), py::arg("d_gamma"), py::arg("d_beta"),
        "Fills `out` and the gradients that are not None; see unstuck.norm.");
}

} // namespace unstuck::bindings
