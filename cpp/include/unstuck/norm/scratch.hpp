// Memory that a thread keeps between calls, so that a pass that has run once allocates nothing.
#pragma once
#include <cstdint>
#include <iterator>
#include <vector>

namespace unstuck::norm {

// Room for `count` values, whatever they hold; valid until the thread asks for the same `Use`
// again.
template <class Use, class T> T *scratch(std::int64_t count) {
  thread_local std::vector<T> memory;
  if (std::ssize(memory) < count)
    memory.resize(static_cast<std::size_t>(count));
  return memory.data();
}

} // namespace unstuck::norm
