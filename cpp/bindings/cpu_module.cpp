// The baseline module `unstuck._cpu`: says which CPU levels this machine can run. Compiled without
// any -m flag.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

namespace {

// x86-64 microarchitecture levels, lowest first; empty elsewhere. The compiler's check includes the
// operating system's support for the wider registers.
std::vector<std::string> levels() {
  std::vector<std::string> found;
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
  __builtin_cpu_init();
  if (!(__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt")))
    return found;
  found.emplace_back("v2");
  if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi2")))
    return found;
  found.emplace_back("v3");
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    found.emplace_back("v4");
#endif
  return found;
}

} // namespace

PYBIND11_MODULE(_cpu, m) {
  m.doc() = "Asks the CPU which variants of the core it can run.";
  m.def("levels", &levels,
        "CPU levels of this machine, lowest first: a prefix of ['v2', 'v3', 'v4'].");
}
