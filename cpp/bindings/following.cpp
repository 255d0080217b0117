// Binds one round of following an end of a changing spectrum.
#include "unstuck/krylov/following.hpp"

#include "arrays.hpp"

namespace unstuck::bindings {
namespace {

template <class T>
py::tuple follow_rows(const py::array &rows, const py::array &images, double sign,
                      std::int64_t most) {
  require(most == 2 || most == 3, "`most` must be 2 or 3, got ", most);
  require(rows.ndim() == 2, "`rows` must have shape (k, n), got ", describe(rows));
  const std::int64_t n = rows.shape(1);
  const auto x = readonly<T>(rows, "rows", {-1, n});
  const auto h = readonly<T>(images, "images", {rows.shape(0), n});
  auto next = new_array<T>({most, n});
  const std::span<T> target(next.mutable_data(), static_cast<std::size_t>(next.size()));
  Followed found;
  {
    const py::gil_scoped_release release;
    found = follow<T>(n, x, h, sign, most, target);
  }
  return py::make_tuple(found.value, found.residual, next, found.count);
}

} // namespace

void bind_following(py::module_ &m) {
  m.def(
      "follow",
      [](const py::array &rows, const py::array &images, double sign, std::int64_t most) {
        return is_type<float>(rows) ? follow_rows<float>(rows, images, sign, most)
                                    : follow_rows<double>(rows, images, sign, most);
      },
      py::arg("rows"), py::arg("images"), py::arg("sign"), py::arg("most"),
      "(value, residual, next rows, how many of them are filled) by Rayleigh-Ritz on a few rows.");
}

} // namespace unstuck::bindings
