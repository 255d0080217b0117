// Writes of results that are too large to stay in the cache: streaming stores do not read the old
// lines first, which saves a quarter of the traffic of a pass that reads one array and writes one.
#pragma once
#include <algorithm>
#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace unstuck::norm {

inline constexpr std::int64_t kStreamBytes = 32 << 20; // more than a share of a last-level cache

template <class T> struct Target {
  T *out;
  bool stream;
  Target(T *target, std::int64_t size)
      : out(target), stream(size * static_cast<std::int64_t>(sizeof(T)) >= kStreamBytes) {}
};

// to[0 … count) = from, past the cache; `from` is aligned to 64 bytes.
template <class T> inline void stream_copy(T *to, const T *from, std::int64_t count) {
  std::int64_t i = 0;
#if defined(__SSE2__)
  constexpr std::int64_t lanes = 16 / sizeof(T);
  for (; i < count && reinterpret_cast<std::uintptr_t>(to + i) % 16 != 0; ++i)
    to[i] = from[i];
  for (; i + lanes <= count; i += lanes)
    _mm_stream_si128(reinterpret_cast<__m128i *>(to + i),
                     _mm_loadu_si128(reinterpret_cast<const __m128i *>(from + i)));
#endif
  for (; i < count; ++i)
    to[i] = from[i];
}

// Streaming stores are ordered before whatever follows.
inline void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// out[begin + i] = value(i) for i = 0 … count−1.
template <class T, class Value>
void write_run(const Target<T> &target, std::int64_t begin, std::int64_t count, Value &&value) {
  T *out = target.out + begin;
  if (!target.stream) {
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i)
      out[i] = value(i);
    return;
  }
  constexpr std::int64_t size = 1024;
  alignas(64) T buffer[size];
  for (std::int64_t first = 0; first < count; first += size) {
    const std::int64_t n = std::min(size, count - first);
#pragma GCC ivdep
    for (std::int64_t i = 0; i < n; ++i)
      buffer[i] = value(first + i);
    stream_copy(out + first, buffer, n);
  }
}

} // namespace unstuck::norm
