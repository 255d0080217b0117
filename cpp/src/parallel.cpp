// How many threads a region uses, and what happens to them when the process forks.
#include "unstuck/parallel.hpp"

#include <algorithm>
#include <fstream>
#include <string>

#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#include <pthread.h>
#endif
#ifdef __linux__
#include <sched.h>
#endif

namespace unstuck {
namespace {

// Process-wide by nature: threads belong to the process, and so does fork.
struct ThreadState {
  std::atomic<int> requested{0};    // 0: automatic
  std::atomic<int> open_regions{0}; // regions running now
  std::atomic<bool> used{false};    // a pool may exist
  std::atomic<bool> child{false};   // this process was forked
  std::atomic<bool> locked{false};  // a child of a pool that was not at rest: one thread for ever
  std::atomic<bool> rested{true};   // set by the prepare handler
};
ThreadState state;

#ifdef _OPENMP
// libgomp's pool does not survive fork: put it to rest first. Looked up at run time, because
// linking it would ask for a newer libgomp than the one PyTorch ships. LLVM's runtime handles fork
// itself.
void before_fork() {
  if (!state.used.load())
    return;
  state.rested.store(false);
  if (state.open_regions.load() != 0 || dlsym(RTLD_DEFAULT, "GOMP_parallel") == nullptr)
    return;
  using Pause = int (*)(int);
  if (auto pause = reinterpret_cast<Pause>(dlsym(RTLD_DEFAULT, "omp_pause_resource_all")))
    state.rested.store(pause(2) == 0); // 2 = omp_pause_hard
}

void in_child() {
  state.child.store(true);
  state.requested.store(0);
  state.open_regions.store(0);
  state.locked.store(!state.rested.load());
}

void watch_fork() {
  static const int registered = pthread_atfork(before_fork, nullptr, in_child);
  (void)registered;
}
#endif

int affinity_count() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    return std::max(1, CPU_COUNT(&set));
#endif
  return std::numeric_limits<int>::max();
}

// CPUs granted by the control group: ceil(quota / period), or "no limit".
int read_cgroup_quota() {
  double quota = -1.0, period = 0.0;
  std::string text;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> text >> period) {
    if (text != "max")
      quota = std::strtod(text.c_str(), nullptr);
  } else {
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
  }
  if (quota <= 0.0 || period <= 0.0)
    return std::numeric_limits<int>::max();
  return std::max(1, static_cast<int>(quota / period + 0.999));
}

int automatic_count() {
#ifdef _OPENMP
  static const int quota = read_cgroup_quota(); // a limit of the container: constant for its life
  if (state.child.load(std::memory_order_relaxed))
    return 1;
  return std::max(1, std::min({omp_get_max_threads(), affinity_count(), quota}));
#else
  return 1;
#endif
}

} // namespace

int thread_count() {
#ifdef _OPENMP
  if (omp_in_parallel() || state.locked.load(std::memory_order_relaxed))
    return 1;
  const int requested = state.requested.load(std::memory_order_relaxed);
  return requested > 0 ? requested : automatic_count();
#else
  return 1;
#endif
}

void set_thread_count(int k) { state.requested.store(std::max(0, k)); }

namespace detail {

RegionGuard::RegionGuard() {
#ifdef _OPENMP
  watch_fork();
#endif
  state.used.store(true, std::memory_order_relaxed);
  state.open_regions.fetch_add(1);
}

RegionGuard::~RegionGuard() { state.open_regions.fetch_sub(1); }

int thread_index() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

} // namespace detail
} // namespace unstuck
