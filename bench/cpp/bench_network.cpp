// Loss, gradient, training step and Hessian product of a network, beside the matrix-product rate of
// this machine.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "timing.hpp"
#include "unstuck/nn/gemm.hpp"
#include "unstuck/nn/hessian_product.hpp"
#include "unstuck/nn/training.hpp"

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

// A tanh network of the given widths on random data.
struct Problem {
  std::vector<std::int64_t> widths;
  std::int64_t rows;
  std::vector<float> x;
  std::vector<std::int64_t> y;
  std::shared_ptr<nn::Network<float>> network;
  std::unique_ptr<nn::Objective<float>> objective;
  std::vector<float> theta;

  Problem(std::vector<std::int64_t> sizes, std::int64_t samples) : widths(sizes), rows(samples) {
    std::vector<nn::NodeSpec> specs;
    const auto add = [&specs](const nn::LayerSpec &layer) {
      const auto i = std::ssize(specs);
      specs.push_back({std::to_string(i), layer, i - 1});
    };
    for (std::size_t i = 0; i + 1 < widths.size(); ++i) {
      add({"Linear",
           {{"in", static_cast<double>(widths[i])},
            {"out", static_cast<double>(widths[i + 1])},
            {"bias", 1.0}}});
      if (i + 2 < widths.size())
        add({"Tanh", {}});
    }
    x = normal(rows * widths.front(), 1.0f);
    for (std::int64_t i = 0; i < rows; ++i)
      y.push_back(i % widths.back());
    network = std::make_shared<nn::Network<float>>(specs, widths.front());
    const std::shared_ptr<const nn::Loss<float>> loss =
        nn::make_loss<float>({"CrossEntropy", {{"label_smoothing", 0.0}}, {}});
    objective = std::make_unique<nn::Objective<float>>(
        network, loss, nn::Data<float>{x.data(), rows, {y.data(), nullptr, nullptr}}, 0.0);
    theta = normal(network->size(), 0.05f);
  }

  // multiply-adds ×2 of one forward pass; `factor` counts passes of an inner layer, `first` of the
  // first
  double flops(double factor, double first) const {
    double sum = 0.0;
    for (std::size_t i = 0; i + 1 < widths.size(); ++i)
      sum += (i ? factor : first) * 2.0 * static_cast<double>(rows * widths[i] * widths[i + 1]);
    return sum;
  }
};

void report(const char *what, double seconds, double flops) {
  std::printf("  %-22s %10.1f us %8.1f GFLOP/s\n", what, seconds * 1e6, flops / seconds * 1e-9);
}

// The product must agree with a difference of gradients before it is timed.
void check_product(const Problem &p, nn::HessianProduct<float> &hessian,
                   const std::vector<float> &v) {
  nn::Workspace<float> space;
  const std::int64_t n = p.network->size();
  std::vector<float> up(p.theta), down(p.theta), g_up(p.theta), g_down(p.theta), product(p.theta);
  const float h = 1e-2f;
  for (std::size_t i = 0; i < up.size(); ++i) {
    up[i] += h * v[i];
    down[i] -= h * v[i];
  }
  p.objective->gradient({up.data()}, p.objective->all(), g_up.data(), space, {});
  p.objective->gradient({down.data()}, p.objective->all(), g_down.data(), space, {});
  hessian.apply(v.data(), 1, product.data(), {});
  double error = 0.0, size = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto k = static_cast<std::size_t>(i);
    const double difference = static_cast<double>(g_up[k] - g_down[k]) / (2.0 * h);
    error += (difference - product[k]) * (difference - product[k]);
    size += difference * difference;
  }
  if (error > 1e-3 * size)
    throw std::runtime_error("the Hessian product disagrees with a difference of gradients");
}

void bench_problem(const Problem &p, std::int64_t batch) {
  nn::Workspace<float> space;
  const std::int64_t n = p.network->size();
  std::vector<float> gradient(p.theta), v = normal(n, 1e-3f), product(p.theta), theta(p.theta);
  nn::HessianProduct<float> hessian(*p.objective, {p.theta.data()}, p.objective->all(),
                                    std::int64_t{1} << 30, {});
  check_product(p, hessian, v);
  std::printf("%zu layers, %lld parameters, %lld samples\n", p.widths.size() - 1,
              static_cast<long long>(n), static_cast<long long>(p.rows));
  report("loss", median_seconds([&] {
           p.objective->loss({p.theta.data()}, p.objective->all(), space, {});
         }),
         p.flops(1, 1));
  report("gradient", median_seconds([&] {
           p.objective->gradient({p.theta.data()}, p.objective->all(), gradient.data(), space, {});
         }),
         p.flops(3, 2));
  report("Hessian product", median_seconds([&] { hessian.apply(v.data(), 1, product.data(), {}); }),
         p.flops(6, 2));
  std::vector<float> m(p.theta.size()), s(p.theta.size());
  const SlotArray slots[] = {{m.data()}, {s.data()}};
  const RuleId rule = find_rule("Adam");
  const std::vector<double> hyper = default_hyper(rule),
                            rates(static_cast<std::size_t>(p.rows / batch), 1e-4);
  std::vector<double> losses(rates.size()), norms(rates.size());
  Update<float> update(rule, hyper.data(), n, {});
  nn::OptimizerState<float> state{&update, hyper.data(), 0, {}, 0};
  state.call.slots = slots;
  const double epoch = median_seconds([&] {
    nn::train<float>(*p.objective, theta.data(), nullptr, state, p.objective->all(), batch, rates,
                     0.0, losses.data(), norms.data(), gradient.data(), space, {});
  });
  const double steps = static_cast<double>(rates.size());
  std::printf("  batch %lld: ", static_cast<long long>(batch));
  report("training step", epoch / steps,
         p.flops(3, 2) * static_cast<double>(batch) / static_cast<double>(p.rows));
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
  report("matrix product", seconds, 2.0 * static_cast<double>(size * size * size));
}

} // namespace

int main() {
  nn::pin_block_sizes();
  std::printf("%d threads\n", thread_count());
  bench_gemm(512);
  bench_gemm(1024);
  bench_problem(Problem({64, 64, 64, 10}, 256), 32);
  bench_problem(Problem({64, 128, 128, 10}, 640), 32);
  bench_problem(Problem({64, 512, 512, 10}, 1280), 128);
  bench_problem(Problem({784, 512, 512, 10}, 1024), 128);
  return 0;
}
