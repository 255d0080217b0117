// Forward, backward and tangent passes of convolution layers, beside the matrix-product rate of this
// machine, and what a pass of a small network of planes costs.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "timing.hpp"
#include "unstuck/nn/gemm.hpp"
#include "unstuck/nn/layer.hpp"

namespace {

using namespace unstuck;
using bench::median_seconds;

std::vector<float> normal(std::int64_t n, float scale) {
  std::mt19937 generator(1);
  std::normal_distribution<float> draw(0.0f, scale);
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float &value : values)
    value = draw(generator);
  return values;
}

struct Shape {
  std::int64_t rows, in, size, out, kernel, stride = 1, groups = 1;
};

void report(const char *what, double seconds, double multiply_adds) {
  std::printf("  %-22s %10.1f us %8.1f GFLOP/s\n", what, seconds * 1e6,
              2.0 * multiply_adds / seconds * 1e-9);
}

void bench_shape(const Shape &s) {
  const auto real = [](std::int64_t x) { return static_cast<double>(x); };
  nn::LayerSpec spec{"Conv2d",
                     {{"channels", real(s.in)},
                      {"height", real(s.size)},
                      {"width", real(s.size)},
                      {"out_channels", real(s.out)},
                      {"groups", real(s.groups)},
                      {"bias", 1.0},
                      {"sequence", 0.0}}};
  for (const std::string axis : {"_y", "_x"}) {
    spec.options["kernel" + axis] = real(s.kernel);
    spec.options["stride" + axis] = real(s.stride);
    spec.options["padding" + axis] = real(s.kernel / 2);
    spec.options["dilation" + axis] = 1.0;
  }
  const std::int64_t inputs = s.in * s.size * s.size;
  const auto layer = nn::make_layer<float>(spec, inputs);
  std::int64_t parameters = 0;
  for (const auto &parameter : layer->parameters())
    parameters += parameter.size();
  const std::int64_t outputs = layer->outputs() * s.rows;
  const auto a = normal(inputs * s.rows, 1.0f), theta = normal(parameters, 0.1f),
             v = normal(parameters, 0.1f), delta = normal(outputs, 1.0f),
             r_a = normal(inputs * s.rows, 1.0f), r_delta = normal(outputs, 1.0f);
  std::vector<float> h(delta.size()), d_a(a.size()), gradient(theta.size());
  const nn::Team team{true};
  const double work = real(layer->work_per_row() * s.rows);
  std::printf("%lld x (%lld, %lld, %lld) to %lld, kernel %lld, stride %lld, groups %lld\n",
              static_cast<long long>(s.rows), static_cast<long long>(s.in),
              static_cast<long long>(s.size), static_cast<long long>(s.size),
              static_cast<long long>(s.out), static_cast<long long>(s.kernel),
              static_cast<long long>(s.stride), static_cast<long long>(s.groups));
  report("forward", median_seconds([&] {
           layer->forward(team, s.rows, theta.data(), nullptr, a.data(), h.data(), nullptr);
         }),
         work);
  report("to the input", median_seconds([&] {
           layer->backward(team, s.rows, theta.data(), a.data(), nullptr, delta.data(), d_a.data(),
                           nullptr);
         }),
         work);
  report("to the weights", median_seconds([&] {
           layer->backward(team, s.rows, theta.data(), a.data(), nullptr, delta.data(), nullptr,
                           gradient.data());
         }),
         work);
  report("tangent passes", median_seconds([&] {
           layer->tangent_forward(team, s.rows, theta.data(), v.data(), a.data(), nullptr,
                                  r_a.data(), h.data());
           layer->tangent_backward(team, s.rows, theta.data(), v.data(), a.data(), nullptr, nullptr,
                                   delta.data(), r_a.data(), r_delta.data(), d_a.data(),
                                   gradient.data());
         }),
         6 * work);
}

void bench_gemm(std::int64_t size) {
  const std::vector<float> a = normal(size * size, 1.0f), b = normal(size * size, 1.0f);
  std::vector<float> c(a.size());
  const std::int64_t tile = 256, side = size / tile;
  const double seconds = median_seconds([&] {
    parallel_blocks(side * side, size * size * size / 32, [&](std::int64_t id, int) {
      const std::int64_t i = id / side * tile, j = id % side * tile;
      nn::gemm_add(nn::Transpose::no, nn::Transpose::no, tile, tile, size, a.data() + i * size,
                   size, b.data() + j, size, c.data() + i * size + j, size);
    });
  });
  report("matrix product", seconds, static_cast<double>(size * size * size));
}

} // namespace

int main() {
  nn::pin_block_sizes();
  std::printf("%d threads\n", thread_count());
  bench_gemm(1024);
  bench_shape({32, 64, 28, 64, 3});
  bench_shape({32, 128, 14, 128, 3});
  bench_shape({32, 64, 28, 128, 3, 2});
  bench_shape({32, 64, 28, 256, 1});
  bench_shape({32, 1, 8, 8, 3});
  bench_shape({32, 8, 4, 16, 3});
  bench_shape({32, 64, 28, 64, 3, 1, 64});
  return 0;
}
