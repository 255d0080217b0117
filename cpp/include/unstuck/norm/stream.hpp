// Writes of results that are too large to stay in the cache: streaming stores do not read the old
// lines first, which saves a quarter of the traffic of a pass that reads one array and writes one.
// They go out line by line: in longer bursts they keep the reads waiting.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <type_traits>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace unstuck::norm {

inline constexpr std::int64_t kStreamBytes = 32 << 20; // more than a share of a last-level cache
inline constexpr std::int64_t kLine = 64;              // bytes
inline constexpr std::int64_t kAhead = 64 * kLine;     // fetched early by a pass that writes
inline constexpr std::int64_t kFarAhead = 192 * kLine; // and by one that only reads

// `reads`: arrays that are read at the places that are written, null for none.
template <class T> struct Target {
  T *out;
  bool stream;
  std::array<const T *, 2> reads;
  Target(T *target, std::int64_t size, const T *first = nullptr, const T *second = nullptr)
      : out(target), stream(size * static_cast<std::int64_t>(sizeof(T)) >= kStreamBytes),
        reads{first, second} {}
};

#if defined(__AVX__)
inline constexpr std::size_t kVectorBytes = 32;
#else
inline constexpr std::size_t kVectorBytes = 16;
#endif

// How a formula reads and writes arrays: element by element, or several of them in a vector
// register.
struct One {
  template <class T> static T load(const T *from) { return *from; }
  template <class T> static void store(T *to, T value) { *to = value; }
};
struct Several {
  template <class T> static auto load(const T *from) {
    typedef T Vector __attribute__((vector_size(kVectorBytes)));
    Vector value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
  }
  template <class T, class Vector> static void store(T *to, Vector value) {
    __builtin_memcpy(to, &value, sizeof value);
  }
};

// max(0, value) that lets NaN pass, and value where `sign` > 0, else 0; both also of vectors.
template <class V> V positive_part(V value) {
  const V zero{};
  return value < zero ? zero : value;
}
template <class V> V where_positive(V sign, V value) {
  const V zero{};
  return sign > zero ? value : zero;
}

// A vector past the cache to `to`, aligned.
template <class T, class Vector> inline void stream_vector(T *to, Vector value) {
#if defined(__AVX__)
  _mm256_stream_si256(reinterpret_cast<__m256i *>(to), reinterpret_cast<__m256i>(value));
#elif defined(__SSE2__)
  _mm_stream_si128(reinterpret_cast<__m128i *>(to), reinterpret_cast<__m128i>(value));
#else
  Several::store(to, value);
#endif
}

// Streaming stores are ordered before whatever follows.
inline void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

inline void fetch_line(const void *at) {
  __builtin_prefetch(at);
  asm volatile(""); // GCC drops calls of functions that do nothing but prefetch
}

// The lines of `count` elements from `at` on.
template <class T>
void fetch(const std::array<const T *, 2> &reads, std::int64_t at, std::int64_t count) {
  constexpr std::int64_t lanes = kLine / static_cast<std::int64_t>(sizeof(T));
  for (const T *read : reads)
    for (std::int64_t i = 0; read && i < count; i += lanes)
      fetch_line(read + at + i);
}

// Elements that a fetch goes ahead.
template <class T> constexpr std::int64_t ahead(std::int64_t bytes) {
  return bytes / static_cast<std::int64_t>(sizeof(T));
}

// out[begin + i] = value(at, i) for i = 0 … count−1, `at` being One or Several; the next run begins
// at `next`. `value` should hold copies: what it holds by reference has to be read again after
// every line that is written. A value that knows One alone is written through the cache.
template <class T, class Value>
void write_run(const Target<T> &target, std::int64_t begin, std::int64_t count, std::int64_t next,
               Value value) {
  T *const out = target.out + begin;
  const auto plainly = [=](std::int64_t first, std::int64_t last) {
#pragma GCC ivdep
    for (std::int64_t i = first; i < last; ++i)
      out[i] = value(One{}, i);
  };
  if constexpr (std::is_invocable_v<Value, Several, std::int64_t>)
    if (target.stream) {
      constexpr std::int64_t lanes = kLine / static_cast<std::int64_t>(sizeof(T)),
                             width = kVectorBytes / sizeof(T);
      const std::array<const T *, 2> reads = target.reads;
      const auto past = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(out) /
                                                  sizeof(T) % static_cast<std::size_t>(lanes));
      // within the next run, unless what follows is to be written, too
      const std::int64_t furthest = next == begin + count ? ahead<T>(kAhead) : count;
      std::int64_t i = std::min(count, (lanes - past) % lanes);
      plainly(0, i);
      for (; i + lanes <= count; i += lanes) {
        const std::int64_t later = i + ahead<T>(kAhead);
        fetch(reads, later < count ? begin + later : next + std::min(later - count, furthest),
              lanes);
        for (std::int64_t j = 0; j < lanes; j += width)
          stream_vector(out + i + j, value(Several{}, i + j));
      }
      return plainly(i, count);
    }
  plainly(0, count);
}

} // namespace unstuck::norm
