// The two exceptions that the core throws for a caller's fault, and `require`, the only place that
// throws them.
#pragma once
#include <cstdint>
#include <sstream>
#include <stdexcept>

namespace unstuck {

// A value, shape or size is wrong: ValueError in Python.
struct ArgumentError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// A type, layout or writability is wrong: TypeError in Python.
struct ArgumentTypeError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

template <class Error = ArgumentError, class... Parts>
inline void require(bool condition, const Parts &...parts) {
  if (condition) [[likely]]
    return;
  std::ostringstream message;
  (message << ... << parts);
  throw Error(message.str());
}

// a·b for sizes that come from outside; refuses overflow instead of wrapping.
inline std::int64_t product(std::int64_t a, std::int64_t b, const char *what) {
  std::int64_t result = 0;
  require(a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, &result), what,
          " is too large for 64-bit sizes: ", a, " x ", b);
  return result;
}

} // namespace unstuck
