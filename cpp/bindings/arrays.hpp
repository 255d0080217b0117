// The only door to pybind11 and NumPy arrays: unpack, check, name the argument; no other file
// includes pybind11.
//
// Arguments that are read may be converted. Arguments that are written are never copied: wrong type
// or layout is a TypeError, a wrong size or overlap a ValueError, each with what was expected and
// what came.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "unstuck/error.hpp"

namespace unstuck::bindings {

namespace py = pybind11;

template <class T> using CArray = py::array_t<T, py::array::c_style | py::array::forcecast>;

inline std::string describe(const py::array &a) {
  std::string text = py::str(a.dtype()).cast<std::string>() + " array of shape (";
  for (py::ssize_t i = 0; i < a.ndim(); ++i)
    text += (i ? ", " : "") + std::to_string(a.shape(i));
  return text + (a.ndim() == 1 ? ",)" : ")");
}

inline std::string shape_text(const std::vector<std::int64_t> &shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + (shape[i] < 0 ? std::string("any") : std::to_string(shape[i]));
  return text + (shape.size() == 1 ? ",)" : ")");
}

inline void require_shape(const py::array &a, const char *name,
                          const std::vector<std::int64_t> &shape) {
  bool good = a.ndim() == static_cast<py::ssize_t>(shape.size());
  for (std::size_t i = 0; good && i < shape.size(); ++i)
    good = shape[i] < 0 || a.shape(static_cast<py::ssize_t>(i)) == shape[i];
  if (!good) // the description costs more than the check
    require(false, "`", name, "` must have shape ", shape_text(shape), ", got ", describe(a));
}

// A read-only argument: converted to a contiguous T array when needed; -1 in `shape` stands for any
// size.
template <class T>
CArray<T> input(const py::object &object, const char *name,
                const std::vector<std::int64_t> &shape) {
  py::array raw = py::array::ensure(object);
  if (!raw)
    PyErr_Clear();
  if (!raw)
    require<ArgumentTypeError>(false, "`", name, "` must be an array of numbers, got ",
                               py::str(py::type::of(object)).cast<std::string>());
  const char kind = raw.dtype().kind();
  if (kind != 'f' && kind != 'i' && kind != 'u' && kind != 'b')
    require<ArgumentTypeError>(false, "`", name, "` must hold real numbers, got ", describe(raw));
  require_shape(raw, name, shape);
  return CArray<T>::ensure(raw);
}

// Whether the memory can be used where it lies: the right type, contiguous and aligned.
template <class T> bool is_usable(const py::array &a) {
  return py::isinstance<py::array_t<T>>(a) && (a.flags() & py::array::c_style) != 0 &&
         reinterpret_cast<std::uintptr_t>(a.data()) % alignof(T) == 0;
}

// Says what is wrong with an array that is not usable; `why` is the reason for not copying it.
template <class T> void require_usable(const py::array &a, const char *name, const char *why) {
  require<ArgumentTypeError>(py::isinstance<py::array_t<T>>(a), "`", name, "` must be ",
                             py::str(py::dtype::of<T>()).cast<std::string>(), " because it is ",
                             why, ", got ", describe(a), "; convert it with astype first");
  require<ArgumentTypeError>((a.flags() & py::array::c_style) != 0, "`", name,
                             "` must be C-contiguous because it is ", why,
                             "; pass np.ascontiguousarray(...) and keep that array");
  require<ArgumentTypeError>(is_usable<T>(a), "`", name,
                             "` is not aligned to its element size; pass a copy");
}

// An argument that is changed in place: must already be a writable, aligned, C-contiguous T array.
template <class T>
std::span<T> inout(py::array &a, const char *name, const std::vector<std::int64_t> &shape) {
  if (!is_usable<T>(a))
    require_usable<T>(a, name, "changed in place");
  require<ArgumentTypeError>(a.writeable(), "`", name,
                             "` is read-only but is changed in place; pass a writable array");
  require_shape(a, name, shape);
  return {static_cast<T *>(a.mutable_data()), static_cast<std::size_t>(a.size())};
}

// A read-only argument on a hot path: never converted, so its type and layout must already be
// right.
template <class T>
std::span<const T> readonly(const py::array &a, const char *name,
                            const std::vector<std::int64_t> &shape) {
  if (!is_usable<T>(a))
    require_usable<T>(a, name, "read without a copy");
  require_shape(a, name, shape);
  return {static_cast<const T *>(a.data()), static_cast<std::size_t>(a.size())};
}

// Two arguments of which at least one is written must not share memory.
inline void require_disjoint(const py::array &a, const char *a_name, const py::array &b,
                             const char *b_name) {
  const auto a_begin = reinterpret_cast<std::uintptr_t>(a.data());
  const auto b_begin = reinterpret_cast<std::uintptr_t>(b.data());
  const bool apart = a_begin + static_cast<std::uintptr_t>(a.nbytes()) <= b_begin ||
                     b_begin + static_cast<std::uintptr_t>(b.nbytes()) <= a_begin;
  require(apart || a.nbytes() == 0 || b.nbytes() == 0, "`", a_name, "` and `", b_name,
          "` share memory, but one of them is changed in place; pass a copy of one");
}

template <class T> bool is_type(const py::array &a) { return py::isinstance<py::array_t<T>>(a); }

// A new C-contiguous array whose elements are not initialised; the caller fills all of it.
template <class T> py::array_t<T> new_array(const std::vector<std::int64_t> &shape) {
  return py::array_t<T>(std::vector<py::ssize_t>(shape.begin(), shape.end()));
}

} // namespace unstuck::bindings
