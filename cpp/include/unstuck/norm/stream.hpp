// Writes of results that are too large to stay in the cache: streaming stores do not read the old
// lines first, which saves a quarter of the traffic of a pass that reads one array and writes one.
// They go out line by line: in longer bursts they keep the reads waiting.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace unstuck::norm {

inline constexpr std::int64_t kStreamBytes = 32 << 20; // more than a share of a last-level cache
inline constexpr std::int64_t kLine = 64;              // bytes
inline constexpr std::int64_t kAhead = 32 * kLine;     // what is fetched early

// `reads`: arrays that are read at the places that are written, null for none.
template <class T> struct Target {
  T *out;
  bool stream;
  std::array<const T *, 2> reads;
  Target(T *target, std::int64_t size, const T *first = nullptr, const T *second = nullptr)
      : out(target), stream(size * static_cast<std::int64_t>(sizeof(T)) >= kStreamBytes),
        reads{first, second} {}
};

// One line of `from`, aligned, past the cache to `to`, aligned.
template <class T> inline void stream_line(T *to, const T *from) {
#if defined(__AVX__)
  for (int i = 0; i < 2; ++i)
    _mm256_stream_si256(reinterpret_cast<__m256i *>(to) + i,
                        _mm256_load_si256(reinterpret_cast<const __m256i *>(from) + i));
#elif defined(__SSE2__)
  for (int i = 0; i < 4; ++i)
    _mm_stream_si128(reinterpret_cast<__m128i *>(to) + i,
                     _mm_load_si128(reinterpret_cast<const __m128i *>(from) + i));
#else
  std::copy_n(from, kLine / static_cast<std::int64_t>(sizeof(T)), to);
#endif
}

// Streaming stores are ordered before whatever follows.
inline void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

template <class T> inline void fetch(const std::array<const T *, 2> &reads, std::int64_t at) {
  for (const T *read : reads)
    if (read)
      __builtin_prefetch(reinterpret_cast<const char *>(read + at) + kAhead);
}

// out[begin + i] = value(i) for i = 0 … count−1.
template <class T, class Value>
void write_run(const Target<T> &target, std::int64_t begin, std::int64_t count, Value &&value) {
  T *const out = target.out + begin;
  const auto plainly = [&](std::int64_t first, std::int64_t last) {
#pragma GCC ivdep
    for (std::int64_t i = first; i < last; ++i)
      out[i] = value(i);
  };
  if (!target.stream)
    return plainly(0, count);
  constexpr std::int64_t lanes = kLine / static_cast<std::int64_t>(sizeof(T));
  const auto past = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(out) / sizeof(T) %
                                              static_cast<std::size_t>(lanes));
  std::int64_t i = std::min(count, (lanes - past) % lanes);
  plainly(0, i);
  for (; i + lanes <= count; i += lanes) {
    fetch(target.reads, begin + i);
    alignas(kLine) T line[lanes];
#pragma GCC ivdep
    for (std::int64_t j = 0; j < lanes; ++j)
      line[j] = value(i + j);
    stream_line(out + i, line);
  }
  plainly(i, count);
}

} // namespace unstuck::norm
