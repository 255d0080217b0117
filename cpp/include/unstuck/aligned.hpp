// Memory that starts at a multiple of 64 bytes: vectorised loops treat the elements before the
// first aligned one by scalar code, whose tanh and exp round differently, so bits must not depend
// on where the heap put an array.
#pragma once
#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace unstuck {

inline constexpr std::size_t kAlignment = 64;

template <class T> struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <class U> AlignedAllocator(const AlignedAllocator<U> &) {}
  T *allocate(std::size_t count) {
    return static_cast<T *>(::operator new(count * sizeof(T), std::align_val_t(kAlignment)));
  }
  void deallocate(T *memory, std::size_t) {
    ::operator delete(memory, std::align_val_t(kAlignment));
  }
  template <class U> bool operator==(const AlignedAllocator<U> &) const { return true; }
};

template <class T> using AlignedVector = std::vector<T, AlignedAllocator<T>>;

// `count` rounded up so that what follows is aligned, too.
template <class T> constexpr std::int64_t aligned_size(std::int64_t count) {
  constexpr std::int64_t step = kAlignment / sizeof(T);
  return (count + step - 1) / step * step;
}

} // namespace unstuck
