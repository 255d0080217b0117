// The list of parametrizations, and the map from all parameters to all weights.
#include "unstuck/nn/parametrization.hpp"

#include <algorithm>

#include "unstuck/error.hpp"
#include "unstuck/parallel.hpp"

namespace unstuck::nn {

template <class T>
std::unique_ptr<Parametrization<T>> make_parametrization(const LayerSpec &spec,
                                                         const ParameterShape &weight) {
  for (const auto make : {make_weight_norm<T>, make_spectral_norm<T>})
    if (auto parametrization = make(spec, weight))
      return parametrization;
  require(false, "unknown parametrization `", spec.kind, "`");
  return nullptr;
}

template <class T>
void WeightMap<T>::copy(std::int64_t parameters, std::int64_t weights, std::int64_t size) {
  if (!copies_.empty()) {
    Copy &last = copies_.back();
    if (last.parameters + last.size == parameters && last.weights + last.size == weights) {
      last.size += size;
      return;
    }
  }
  copies_.push_back({parameters, weights, size});
}

template <class T>
void WeightMap<T>::add(std::unique_ptr<Parametrization<T>> parametrization, std::int64_t parameters,
                       std::int64_t weights, std::int64_t buffers) {
  pieces_.push_back({std::move(parametrization), parameters, weights, buffers});
}

namespace {

template <class T> void copy_range(const T *from, std::int64_t size, T *to) {
  constexpr std::int64_t grain = 8192;
  parallel_ranges(size, grain, size / 8, [=](std::int64_t begin, std::int64_t end) {
    std::copy(from + begin, from + end, to + begin);
  });
}

} // namespace

template <class T> void WeightMap<T>::weights(const T *theta, const T *buffers, T *omega) const {
  for (const Copy &c : copies_)
    copy_range(theta + c.parameters, c.size, omega + c.weights);
  for (const Piece &p : pieces_)
    p.parametrization->weight(theta + p.parameters, buffers + p.buffers, omega + p.weights);
}

template <class T>
void WeightMap<T>::gradient(const T *theta, const T *buffers, const T *d_omega, T *gradient) const {
  for (const Copy &c : copies_)
    copy_range(d_omega + c.weights, c.size, gradient + c.parameters);
  for (const Piece &p : pieces_)
    p.parametrization->gradient(theta + p.parameters, buffers + p.buffers, d_omega + p.weights,
                                gradient + p.parameters);
}

template <class T>
void WeightMap<T>::tangent(const T *theta, const T *buffers, const T *v, T *r_omega) const {
  for (const Copy &c : copies_)
    copy_range(v + c.parameters, c.size, r_omega + c.weights);
  for (const Piece &p : pieces_)
    p.parametrization->tangent(theta + p.parameters, buffers + p.buffers, v + p.parameters,
                               r_omega + p.weights);
}

template <class T>
void WeightMap<T>::product(const T *theta, const T *buffers, const T *v, const T *d_omega,
                           const T *r_d_omega, T *product) const {
  for (const Copy &c : copies_)
    copy_range(r_d_omega + c.weights, c.size, product + c.parameters);
  for (const Piece &p : pieces_)
    p.parametrization->product(theta + p.parameters, buffers + p.buffers, v + p.parameters,
                               d_omega + p.weights, r_d_omega + p.weights, product + p.parameters);
}

template <class T> void WeightMap<T>::update_buffers(const T *theta, T *buffers) const {
  for (const Piece &p : pieces_)
    p.parametrization->update_buffers(theta + p.parameters, buffers + p.buffers);
}

template class WeightMap<float>;
template class WeightMap<double>;
template std::unique_ptr<Parametrization<float>>
make_parametrization<float>(const LayerSpec &, const ParameterShape &);
template std::unique_ptr<Parametrization<double>>
make_parametrization<double>(const LayerSpec &, const ParameterShape &);

} // namespace unstuck::nn
