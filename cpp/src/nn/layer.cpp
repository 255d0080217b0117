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
  std::vector<std::string> kinds;
#define UNSTUCK_KINDS(family) family##_kinds(),
  for (const auto &more : {UNSTUCK_LAYER_FAMILIES(UNSTUCK_KINDS)})
    kinds.insert(kinds.end(), more.begin(), more.end());
#undef UNSTUCK_KINDS
  return kinds;
}

template <class T>
std::unique_ptr<Layer<T>> make_layer(const LayerSpec &spec, std::int64_t inputs) {
#define UNSTUCK_MAKE(family) make_##family<T>,
  for (const auto make : {UNSTUCK_LAYER_FAMILIES(UNSTUCK_MAKE)})
    if (auto layer = make(spec, inputs))
      return layer;
#undef UNSTUCK_MAKE
  require(false, "unknown layer kind `", spec.kind, "`");
  return nullptr;
}

template class Layer<float>;
template class Layer<double>;
template std::unique_ptr<Layer<float>> make_layer<float>(const LayerSpec &, std::int64_t);
template std::unique_ptr<Layer<double>> make_layer<double>(const LayerSpec &, std::int64_t);

} // namespace unstuck::nn
