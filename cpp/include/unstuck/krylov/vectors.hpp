// The numbers that one instruction takes, for loops over vectors: the same order of sums
// everywhere.
#pragma once
#include <cstddef>
#include <cstring>
#include <type_traits>

namespace unstuck {

// Eight floats or four doubles under AVX, half of them without.
#ifdef __AVX__
constexpr std::size_t kVectorBytes = 32;
#else
constexpr std::size_t kVectorBytes = 16;
#endif

template <class C> struct Vector {
  static constexpr int lanes = static_cast<int>(kVectorBytes / sizeof(C));
  typedef C Lanes __attribute__((vector_size(kVectorBytes)));
};
template <class C> using Lanes = typename Vector<C>::Lanes;

// `lanes` numbers of type T as numbers of type C.
template <class C, class T> inline Lanes<C> load(const T *p) {
  Lanes<C> x;
  if constexpr (std::is_same_v<C, T>)
    std::memcpy(&x, p, sizeof(x));
  else
    for (int l = 0; l < Vector<C>::lanes; ++l)
      x[l] = static_cast<C>(p[l]);
  return x;
}

// Numbers of type C into `lanes` places of type T.
template <class C, class T> inline void store(T *p, Lanes<C> x) {
  if constexpr (std::is_same_v<C, T>)
    std::memcpy(p, &x, sizeof(x));
  else
    for (int l = 0; l < Vector<C>::lanes; ++l)
      p[l] = static_cast<T>(x[l]);
}

template <class C> inline C total(Lanes<C> x) {
  C sum = x[0];
  for (int l = 1; l < Vector<C>::lanes; ++l)
    sum += x[l];
  return sum;
}

} // namespace unstuck
