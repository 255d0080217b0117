// The list of layer kinds and what all layers share.
#include "unstuck/nn/layer.hpp"

#include "unstuck/error.hpp"

namespace unstuck::nn {

double LayerSpec::option(const std::string &name) const {
  const auto found = options.find(name);
  require(found != options.end(), "layer `", kind, "` lacks the option `", name, "`");
  return found->second;
}

std::int64_t ParameterShape::size() const {
  std::int64_t size = 1;
  for (const std::int64_t extent : shape)
    size = product(size, extent, name.c_str());
  return size;
}

template <class T>
void Layer<T>::keep_bend(Team, std::int64_t, const T *, const T *, const T *, const T *,
                         T *) const {}

template <class T> void Layer<T>::update_buffers(std::int64_t, const T *, T *) const {}

std::vector<std::string> layer_kinds() {
  std::vector<std::string> kinds{"Linear", "BatchNorm"};
  for (const auto &more : {normalization_kinds(), activation_kinds()})
    kinds.insert(kinds.end(), more.begin(), more.end());
  return kinds;
}

template <class T>
std::unique_ptr<Layer<T>> make_layer(const LayerSpec &spec, std::int64_t inputs) {
  if (spec.kind == "Linear")
    return make_linear<T>(spec, inputs);
  if (auto layer = make_batch_norm<T>(spec, inputs))
    return layer;
  if (auto layer = make_normalization<T>(spec, inputs))
    return layer;
  auto layer = make_activation<T>(spec, inputs);
  require(layer != nullptr, "unknown layer kind `", spec.kind, "`");
  return layer;
}

template class Layer<float>;
template class Layer<double>;
template std::unique_ptr<Layer<float>> make_layer<float>(const LayerSpec &, std::int64_t);
template std::unique_ptr<Layer<double>> make_layer<double>(const LayerSpec &, std::int64_t);

} // namespace unstuck::nn
