// A window that moves over planes: what convolution and pooling share. Samples are C planes of
// height × width; a sequence is a plane of height 1.
#pragma once
#include <algorithm>
#include <cstdint>

#include "unstuck/error.hpp"
#include "unstuck/nn/layer.hpp"

namespace unstuck::nn {

// Along one axis: output o looks at inputs o·stride − padding + k·dilation, k = 0 … kernel − 1.
struct WindowAxis {
  std::int64_t size = 1, kernel = 1, stride = 1, padding = 0, dilation = 1, out = 1;

  std::int64_t begin(std::int64_t o) const { return o * stride - padding; }

  // k in [first, last) lie inside the plane.
  struct Range {
    std::int64_t first, last;
  };
  Range inside(std::int64_t o) const {
    const std::int64_t at = begin(o);
    const std::int64_t first = at >= 0 ? 0 : (-at + dilation - 1) / dilation;
    const std::int64_t last = at >= size ? first : std::min(kernel, (size - 1 - at) / dilation + 1);
    return {std::min(first, kernel), std::max(std::min(first, kernel), last)};
  }
};

struct Window {
  std::int64_t channels = 1;
  WindowAxis y, x;

  std::int64_t plane() const { return y.size * x.size; }
  std::int64_t positions() const { return y.out * x.out; }
  std::int64_t taps() const { return y.kernel * x.kernel; }
};

// From the options channels, height, width, kernel_y, kernel_x, stride_y, … (and after_y, after_x
// where the padding behind the plane is another than before it); checks that `inputs` features are
// what they say.
inline Window make_window(const LayerSpec &spec, std::int64_t inputs) {
  const auto whole = [&spec](const std::string &name) {
    return static_cast<std::int64_t>(spec.option(name));
  };
  const auto axis = [&](const char *size, const std::string &end) {
    WindowAxis a{whole(size), whole("kernel" + end), whole("stride" + end), whole("padding" + end),
                 whole("dilation" + end)};
    require(a.size > 0 && a.kernel > 0 && a.stride > 0 && a.padding >= 0 && a.dilation > 0,
            spec.kind, " needs positive sizes, kernels, strides and dilations");
    const std::int64_t after = spec.options.count("after" + end) ? whole("after" + end) : a.padding;
    const std::int64_t room = a.size + a.padding + after - a.dilation * (a.kernel - 1) - 1;
    require(after >= 0 && room >= 0, spec.kind, ": a window of ", a.dilation * (a.kernel - 1) + 1,
            " does not fit into ", a.size + a.padding + after, " positions");
    a.out = room / a.stride + 1;
    return a;
  };
  const Window window{whole("channels"), axis("height", "_y"), axis("width", "_x")};
  require(window.channels > 0 && window.channels * window.plane() == inputs, spec.kind, " expects ",
          window.channels, " planes of ", window.y.size, " × ", window.x.size, ", but ", inputs,
          " features arrive");
  return window;
}

} // namespace unstuck::nn
