// Forward, backward and tangent passes of convolution layers, beside the matrix-product rate of
// this machine; and proof that gradients and Hessian products of a network of planes allocate
// nothing.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "timing.hpp"
#include "unstuck/nn/gemm.hpp"
#include "unstuck/nn/hessian_product.hpp"

static std::atomic<std::int64_t> allocations{0};

void *operator new(std::size_t size) {
  ++allocations;
  if (void *memory = std::malloc(size ? size : 1))
    return memory;
  throw std::bad_alloc();
}
void *operator new(std::size_t size, std::align_val_t align) {
  ++allocations;
  const auto a = static_cast<std::size_t>(align);
  if (void *memory = std::aligned_alloc(a, (size + a) / a * a))
    return memory;
  throw std::bad_alloc();
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void *memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

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

double real(std::int64_t x) { return static_cast<double>(x); }

// Options of a window that moves by `stride`.
void add_window(nn::LayerSpec &spec, std::int64_t kernel, std::int64_t stride,
                std::int64_t padding) {
  for (const std::string axis : {"_y", "_x"}) {
    spec.options["kernel" + axis] = real(kernel);
    spec.options["stride" + axis] = real(stride);
    spec.options["padding" + axis] = real(padding);
    spec.options["dilation" + axis] = 1.0;
  }
}

nn::LayerSpec convolution(const Shape &s) {
  nn::LayerSpec spec{"Conv2d",
                     {{"channels", real(s.in)},
                      {"height", real(s.size)},
                      {"width", real(s.size)},
                      {"out_channels", real(s.out)},
                      {"groups", real(s.groups)},
                      {"bias", 1.0},
                      {"sequence", 0.0}}};
  add_window(spec, s.kernel, s.stride, s.kernel / 2);
  return spec;
}

// 8 × 8 planes, two convolutions and pools, one linear layer.
std::shared_ptr<nn::Network<float>> small_network() {
  const auto pool = [](std::int64_t channels, std::int64_t size) {
    nn::LayerSpec spec{
        "MaxPool2d", {{"channels", real(channels)}, {"height", real(size)}, {"width", real(size)}}};
    add_window(spec, 2, 2, 0);
    return spec;
  };
  std::vector<nn::NodeSpec> specs;
  for (const nn::LayerSpec &layer :
       std::vector<nn::LayerSpec>{convolution({0, 1, 8, 8, 3}),
                                  {"Tanh", {}},
                                  pool(8, 8),
                                  convolution({0, 8, 4, 16, 3}),
                                  {"Tanh", {}},
                                  pool(16, 4),
                                  {"Linear", {{"in", 64.0}, {"out", 10.0}, {"bias", 1.0}}}}) {
    const auto i = std::ssize(specs);
    specs.push_back({std::to_string(i), layer, i - 1});
  }
  return std::make_shared<nn::Network<float>>(specs, 64);
}

// After the first calls, which size what is reused.
template <class F> void check_allocations(const char *what, F &&call) {
  for (int i = 0; i < 20; ++i) // threads take blocks as they come: all must have had one
    call();
  const std::int64_t before = allocations;
  for (int i = 0; i < 20; ++i)
    call();
  const std::int64_t count = allocations - before;
  std::printf("  %-22s %10lld allocations in 20 calls\n", what, static_cast<long long>(count));
  if (count > 0)
    throw std::runtime_error("a pass allocates memory");
}

void check_network() {
  const std::int64_t rows = 64;
  const auto network = small_network();
  const std::vector<float> x = normal(rows * 64, 1.0f), v = normal(network->size(), 1.0f);
  std::vector<float> theta = normal(network->size(), 0.1f), gradient(theta), product(theta);
  std::vector<std::int64_t> y, index;
  for (std::int64_t i = 0; i < rows; ++i) {
    y.push_back(i % 10);
    index.push_back(rows - 1 - i);
  }
  const std::shared_ptr<const nn::Loss<float>> loss =
      nn::make_loss<float>({"CrossEntropy", {{"label_smoothing", 0.0}}, {}});
  const nn::Objective<float> objective(
      network, loss, nn::Data<float>{x.data(), rows, {y.data(), nullptr, nullptr}}, 0.0);
  const nn::Point<float> point{theta.data(), nullptr, true};
  const nn::Selection batch{index.data(), 32};
  nn::Workspace<float> space;
  std::printf("network of planes, %lld parameters\n", static_cast<long long>(network->size()));
  check_allocations("gradient",
                    [&] { objective.gradient(point, batch, gradient.data(), space, {}); });
  nn::HessianProduct<float> kept(objective, point, batch, std::int64_t{1} << 30, {});
  check_allocations("Hessian product", [&] { kept.apply(v.data(), 1, product.data(), {}); });
  nn::HessianProduct<float> anew(objective, point, batch, kept.plan().bytes - 1, {});
  check_allocations("with a new pass", [&] { anew.apply(v.data(), 1, product.data(), {}); });
}

void bench_shape(const Shape &s) {
  const nn::LayerSpec spec = convolution(s);
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
  check_network();
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
