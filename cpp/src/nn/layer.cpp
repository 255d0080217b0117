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

template <class T> std::int64_t Layer<T>::work_per_row() const {
  std::int64_t sum = 0;
  for (const ParameterShape &parameter : parameters())
    sum += parameter.size();
  return sum;
}

template <class T>
void Layer<T>::keep_bend(Team, std::int64_t, const T *, const T *, const T *, const T *,
                         T *) const {}

template <class T> void Layer<T>::update_buffers(std::int64_t, const T *, T *) const {}

std::vector<std::string> layer_kinds() {
  std::vector<std::string> kinds{"Linear", "Conv2d", "Dropout"};
  for (const auto &more :
       {batch_norm_kinds(), normalization_kinds(), activation_kinds(), pooling_kinds()})
    kinds.insert(kinds.end(), more.begin(), more.end());
  return kinds;
}

template <class T>
std::unique_ptr<Layer<T>> make_layer(const LayerSpec &spec, std::int64_t inputs) {
  if (spec.kind == "Linear")
    return make_linear<T>(spec, inputs);
  for (const auto make : {make_convolution<T>, make_batch_norm<T>, make_normalization<T>,
                          make_pooling<T>, make_dropout<T>, make_activation<T>})
    if (auto layer = make(spec, inputs))
      return layer;
  require(false, "unknown layer kind `", spec.kind, "`");
  return nullptr;
}

template class Layer<float>;
template class Layer<double>;
template std::unique_ptr<Layer<float>> make_layer<float>(const LayerSpec &, std::int64_t);
template std::unique_ptr<Layer<double>> make_layer<double>(const LayerSpec &, std::int64_t);

} // namespace unstuck::nn
