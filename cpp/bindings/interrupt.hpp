// Ctrl-C in long loops: a poll that asks Python for pending signals at most every 50 ms.
#pragma once
#include <chrono>
#include <functional>

#include "arrays.hpp"

namespace unstuck::bindings {

// To be called without the GIL, outside parallel regions. Only the main thread's call sees signals;
// what the signal's handler raises is thrown as py::error_already_set.
inline std::function<void()> signal_poll() {
  using Clock = std::chrono::steady_clock;
  return [last = Clock::now()]() mutable {
    const auto now = Clock::now();
    if (now - last < std::chrono::milliseconds(50))
      return;
    last = now;
    const py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0)
      throw py::error_already_set();
  };
}

} // namespace unstuck::bindings
