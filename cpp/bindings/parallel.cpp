// Binds the thread count and one self-test of exceptions that cross a parallel region.
#include "unstuck/parallel.hpp"

#include "arrays.hpp"

namespace unstuck::bindings {

void bind_parallel(py::module_ &m) {
  m.def("thread_count", &thread_count, "Threads that the next parallel region will use.");
  m.def(
      "set_thread_count",
      [](std::int64_t k) {
        require(k >= 0 && k <= 4096, "`k` must be in [0, 4096] (0: automatic), got ", k);
        set_thread_count(static_cast<int>(k));
      },
      py::arg("k"), "Set the number of threads; 0 returns to the automatic choice.");
  m.def(
      "throw_in_region",
      [](std::int64_t blocks, std::int64_t at) {
        py::gil_scoped_release release;
        parallel_blocks(blocks, kParallelGrain, [at](std::int64_t block, int) {
          require(block < at, "block ", block, " failed on purpose");
        });
      },
      py::arg("blocks"), py::arg("at"),
      "Throw from block `at` on: proves that exceptions cross a region safely.");
}

} // namespace unstuck::bindings
