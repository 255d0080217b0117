# CPU levels: which ones to build, and the one set of compiler flags that every file of a level gets.

# Sets `out` to the levels to build: v2 plus the best level the building machine has, or the user's list.
function(unstuck_choose_variants out)
  if(NOT UNSTUCK_VARIANTS STREQUAL "auto")
    set(${out} ${UNSTUCK_VARIANTS} PARENT_SCOPE)
    return()
  endif()
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$")
    set(${out} portable PARENT_SCOPE)
    return()
  endif()
  set(probe ${CMAKE_CURRENT_BINARY_DIR}/cpu_level.cpp)
  # the features of the levels by name, because older compilers do not know "x86-64-v3" here
  file(WRITE ${probe} "int main() { __builtin_cpu_init();
    if (!(__builtin_cpu_supports(\"avx2\") && __builtin_cpu_supports(\"fma\") && __builtin_cpu_supports(\"bmi2\")))
      return 2;
    return __builtin_cpu_supports(\"avx512f\") && __builtin_cpu_supports(\"avx512bw\") && __builtin_cpu_supports(\"avx512cd\")
      && __builtin_cpu_supports(\"avx512dq\") && __builtin_cpu_supports(\"avx512vl\") ? 4 : 3; }")
  try_run(level compiled ${CMAKE_CURRENT_BINARY_DIR}/cpu_level ${probe})
  if(compiled AND level MATCHES "^[34]$")
    set(${out} v2 v${level} PARENT_SCOPE)
  else()
    set(${out} v2 PARENT_SCOPE)
  endif()
endfunction()

# Never -march=native (tuning for this one CPU halves every matrix product) and never -ffast-math
# (it flushes denormals for the whole process and breaks NaN checks).
function(unstuck_compile_flags target level)
  target_compile_definitions(${target} PRIVATE EIGEN_DONT_PARALLELIZE EIGEN_MPL2_ONLY UNSTUCK_LEVEL="${level}")
  if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    # a level below this machine's best is a fallback: what -O3 adds to vectorising costs a third of its build
    list(GET UNSTUCK_LEVELS -1 best)
    set(optimise -O3)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND level STREQUAL "v2" AND NOT best STREQUAL "v2")
      set(optimise -O2 -ftree-vectorize -fvect-cost-model=dynamic -finline-functions)
    endif()
    target_compile_options(${target} PRIVATE ${optimise} -fno-math-errno -fno-trapping-math -ffp-contract=fast
      -Wall -Wextra -Wno-unknown-pragmas -fstack-protector-strong)
    if(level MATCHES "^v[234]$")
      target_compile_options(${target} PRIVATE -march=x86-64-${level})
    endif()
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      target_compile_options(${target} PRIVATE -fno-gnu-unique)
      if(level STREQUAL "v4") # the compiler's own AVX-512 headers set it off (GCC bug 105593)
        target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized)
      endif()
    endif()
  endif()
  if(UNIX AND NOT APPLE)
    target_link_options(${target} PRIVATE -Wl,-z,relro,-z,now)
  endif()
endfunction()
