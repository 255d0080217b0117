"""Benchmarks against rivals: `python -m bench [name …] [--json] [--quick]` from the root of the source tree.

Protocol. A comparison puts us and every rival that is installed into one process, on the same data and
with the same number of threads. The answers are compared before anything is timed; a wrong answer is an
error. Then the candidates take turns: each repeat gives every candidate one unmeasured call, which settles
caches and thread pools, and one timed batch of at least 10 ms, the order rotating. What is reported is the
median over the repeats with its quartiles, and the same of the ratio rival / us within a repeat: a ratio
survives a machine whose speed drifts, a time does not. Every output states the machine and its load; a load
above 1 before the start makes times with several threads worthless.

A module `bench_<name>.py` is found by its name. It has a function `measure(quick) -> Iterator[Comparison]`,
which yields one `timing.Comparison` after the other, made by `timing.compare`. `quick` asks for small sizes
and few repeats. The C++ benchmarks are in `bench/cpp`; the CMake option UNSTUCK_BENCH builds one program for
each file.
"""

import contextlib

# First, so that PyTorch's OpenMP runtime keeps its own waiting policy (see unstuck._variant).
with contextlib.suppress(ImportError):
    import torch  # noqa: F401
