// Binds one round of following an end of a changing spectrum.
#include "unstuck/krylov/following.hpp"

#include "arrays.hpp"

namespace unstuck::bindings {
namespace {

template <class T>
py::tuple follow_rows(const py::array &rows, const py::array &images, double sign, double shift,
                      std::int64_t most) {
  require(most >= 1 && most <= kMostFollowed, "`most` must be 1 to 3, got ", most);
  if (rows.ndim() != 2)
    require(false, "`rows` must have shape (k, n), got ", describe(rows));
  const std::int64_t n = rows.shape(1);
  const auto x = readonly<T>(rows, "rows", {-1, n});
  const auto h = readonly<T>(images, "images", {rows.shape(0), n});
  auto next = new_array<T>({std::max<std::int64_t>(most, 2), n});
  const std::span<T> target(next.mutable_data(), static_cast<std::size_t>(next.size()));
  Followed found;
  {
    const py::gil_scoped_release release;
    found = follow<T>(n, x, h, sign, shift, most, target);
  }
  return py::make_tuple(found.value, found.residual, next, found.count);
}

template <class V, class T>
py::array roots(const py::array &square, double factor, double epsilon) {
  const auto v = input<V>(square, "square", {-1});
  auto scale = new_array<T>({v.shape(0)});
  const std::span<T> target(scale.mutable_data(), static_cast<std::size_t>(scale.size()));
  const py::gil_scoped_release release;
  inverse_roots<V, T>({v.data(), target.size()}, factor, epsilon, target);
  return scale;
}

} // namespace

void bind_following(py::module_ &m) {
  m.def(
      "follow",
      [](const py::array &rows, const py::array &images, double sign, double shift,
         std::int64_t most) {
        return is_type<float>(rows) ? follow_rows<float>(rows, images, sign, shift, most)
                                    : follow_rows<double>(rows, images, sign, shift, most);
      },
      py::arg("rows"), py::arg("images"), py::arg("sign"), py::arg("shift"), py::arg("most"),
      "(value, residual, next rows, how many of them are filled) by Rayleigh-Ritz on a few rows.");
  m.def(
      "inverse_roots",
      [](const py::array &square, double factor, double epsilon, bool single) {
        if (is_type<float>(square))
          return single ? roots<float, float>(square, factor, epsilon)
                        : roots<float, double>(square, factor, epsilon);
        return single ? roots<double, float>(square, factor, epsilon)
                      : roots<double, double>(square, factor, epsilon);
      },
      py::arg("square"), py::arg("factor"), py::arg("epsilon"), py::arg("single"),
      "1/sqrt(sqrt(factor*square) + epsilon), 0 where there has been no gradient to speak of.");
}

} // namespace unstuck::bindings
