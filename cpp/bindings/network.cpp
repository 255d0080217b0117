// Binds networks: their blocks, predictions and activations, for float32 and float64.
#include "unstuck/nn/network.hpp"

#include "arrays.hpp"
#include "interrupt.hpp"
#include "unstuck/nn/gemm.hpp"
#include "unstuck/nn/loss.hpp"
#include "unstuck/nn/objective.hpp"

namespace unstuck::bindings {
namespace {

using nn::Network;

// (name, kind, options, source, second, parametrization, its options) of every node
std::vector<nn::NodeSpec> unpack_specs(const py::sequence &items) {
  using Options = std::map<std::string, double>;
  using Item = std::tuple<std::string, std::string, Options, std::int64_t, std::int64_t,
                          std::string, Options>;
  std::vector<nn::NodeSpec> specs;
  for (const py::handle item : items) {
    const auto [name, kind, options, source, second, map, map_options] = item.cast<Item>();
    specs.push_back({name, {kind, options}, source, second, {map, map_options}});
  }
  return specs;
}

py::list block_list(const std::vector<nn::Block> &blocks) {
  py::list list;
  for (const nn::Block &block : blocks)
    list.append(
        py::make_tuple(block.name, block.begin, block.end, py::tuple(py::cast(block.shape))));
  return list;
}

template <class T>
py::array_t<T> predict(const Network<T> &network, const py::object &theta,
                       const py::object &buffers, const py::object &x) {
  const auto t = input<T>(theta, "theta", {network.size()});
  const auto b = input<T>(buffers, "buffers", {network.buffer_size()});
  const auto rows = input<T>(x, "X", {-1, network.inputs()});
  auto out = new_array<T>({rows.shape(0), network.outputs()});
  T *target = out.mutable_data();
  const auto poll = signal_poll();
  {
    const py::gil_scoped_release release;
    nn::predict(network, nn::Point<T>{t.data(), b.data()}, rows.data(), rows.shape(0), target,
                poll);
  }
  return out;
}

// Outputs of every layer for few samples (all rows at once).
template <class T>
py::list activations(const Network<T> &network, const py::object &theta, const py::object &buffers,
                     const py::object &x, bool training) {
  const auto t = input<T>(theta, "theta", {network.size()});
  const auto b = input<T>(buffers, "buffers", {network.buffer_size()});
  const auto rows = input<T>(x, "X", {-1, network.inputs()});
  nn::Tape<T> tape(network, rows.shape(0), nn::Keep::outputs, 0);
  {
    const py::gil_scoped_release release;
    AlignedVector<T> space;
    const auto at = nn::with_weights(network, nn::Point<T>{t.data(), b.data(), training}, space);
    nn::forward(network, nn::Team{true, nullptr, training}, rows.shape(0), at, rows.data(), tape);
  }
  py::list list;
  for (std::size_t i = 0; i < network.depth(); ++i) {
    auto out = new_array<T>({rows.shape(0), network.layer(i).outputs()});
    std::copy_n(tape.h[i], out.size(), out.mutable_data());
    list.append(out);
  }
  return list;
}

// The buffers of parametrizations after θ has moved, as at the end of a training step.
template <class T>
void update_buffers(const Network<T> &network, const py::object &theta, py::array buffers) {
  const auto t = input<T>(theta, "theta", {network.size()});
  T *running = inout<T>(buffers, "buffers", {network.buffer_size()}).data();
  const py::gil_scoped_release release;
  network.map().update_buffers(t.data(), running);
}

template <class T> void bind_type(py::module_ &m, const char *name) {
  py::class_<Network<T>, std::shared_ptr<Network<T>>>(m, name)
      .def(py::init([](const py::sequence &specs, std::int64_t inputs) {
             return std::make_shared<Network<T>>(unpack_specs(specs), inputs);
           }),
           py::arg("specs"), py::arg("inputs"))
      .def_property_readonly("size", &Network<T>::size)
      .def_property_readonly("inputs", &Network<T>::inputs)
      .def_property_readonly("outputs", &Network<T>::outputs)
      .def_property_readonly("work", [](const Network<T> &n) { return n.cost().work; })
      .def_property_readonly("blocks", [](const Network<T> &n) { return block_list(n.blocks()); })
      .def_property_readonly("buffer_blocks",
                             [](const Network<T> &n) { return block_list(n.buffer_blocks()); })
      .def_property_readonly("buffer_starts", &Network<T>::buffer_starts)
      .def("coupled", &Network<T>::coupled, py::arg("training"))
      .def("check_batch", &Network<T>::check_batch, py::arg("rows"), py::arg("training"))
      .def("update_buffers", &update_buffers<T>, py::arg("theta"), py::arg("buffers").noconvert())
      .def("predict", &predict<T>, py::arg("theta"), py::arg("buffers"), py::arg("X"))
      .def("activations", &activations<T>, py::arg("theta"), py::arg("buffers"), py::arg("X"),
           py::arg("training"));
}

} // namespace

void bind_network(py::module_ &m) {
  nn::pin_block_sizes();
  m.def("layer_kinds", &nn::layer_kinds, "Names of the layer kinds that a network can be made of.");
  m.def("activation_kinds", &nn::activation_kinds,
        "Names of the layer kinds that are activations.");
  m.def("loss_kinds", &nn::loss_kinds, "Names of the losses.");
  bind_type<float>(m, "Float32Network");
  bind_type<double>(m, "Float64Network");
}

} // namespace unstuck::bindings
