// Vectors as wide as the registers of the CPU level, and memory of a thread that only grows.
#pragma once
#include <cstdint>

#include "unstuck/aligned.hpp"

namespace unstuck::nn {

#if defined(__AVX512F__)
inline constexpr std::int64_t kLaneBytes = 64;
#elif defined(__AVX__)
inline constexpr std::int64_t kLaneBytes = 32;
#else
inline constexpr std::int64_t kLaneBytes = 16;
#endif

// Loaded and stored at any address.
template <class T> struct LanesOf {
  typedef T type __attribute__((vector_size(kLaneBytes), aligned(alignof(T)), may_alias));
};
template <class T> using Lanes = typename LanesOf<T>::type;
template <class T> inline constexpr std::int64_t kLanes = kLaneBytes / sizeof(T);

template <class T> Lanes<T> &lanes(T *at) { return *reinterpret_cast<Lanes<T> *>(at); }
template <class T> const Lanes<T> &lanes(const T *at) {
  return *reinterpret_cast<const Lanes<T> *>(at);
}

// Keeps a vector in its register: the compiler would rather load it again for every use, and loads
// are what a product's inner loop has too few of.
template <class V> void hold([[maybe_unused]] V &vector) {
#if defined(__x86_64__)
  asm("" : "+x"(vector));
#endif
}

// At least `size` numbers that belong to the calling thread until it asks again with the same
// `purpose`.
template <class T, int purpose> T *thread_scratch(std::int64_t size) {
  thread_local AlignedVector<T> memory;
  if (static_cast<std::int64_t>(memory.size()) < size)
    memory = AlignedVector<T>(static_cast<std::size_t>(size));
  return memory.data();
}

} // namespace unstuck::nn
