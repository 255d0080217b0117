"""Orthogonalisation beside products of real networks, and ends of 10⁷ and 10⁸ parameters within a memory budget."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import unstuck as us
from bench.bench_network import landscape
from bench.figures import Figures
from unstuck import _core

NETWORKS = [(64, 64, 64, 10), (64, 128, 128, 10), (64, 512, 512, 10), (784, 512, 512, 10)]
CACHED = 30_000  # parameters up to which 50 vectors fit the last-level cache
SAMPLES, VECTORS, AROUND = 1000, 50, 4

# its own process: the peak of its memory is that of this task
SCRIPT = """
import resource, sys, time
import numpy as np
import unstuck as us
n, budget, most = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(0)
d = np.empty(n, dtype=np.float32)
for begin in range(0, n, 10**6):
    size = min(10**6, n - begin)
    d[begin : begin + size] = np.minimum(10.0 ** rng.normal(-3, 0.7, size), 1.0)
d[:10], d[10] = np.linspace(10, 100, 10), -0.1
op = us.operators.HessianOperator(n, np.float32, lambda v: d * v)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, start = peak(), time.perf_counter()
try:
    pairs = us.curvature.eigenpairs(op, 1, tolerance=1e-2, memory_budget=budget, max_products=most)
    print(pairs.plan.form, f"lowest {pairs.values[0]:.4f}", f"{pairs.products} products", sep="; ")
except us.errors.BudgetError as error:
    print("refused:", error)
print((peak() - before) / 2**20)
print(time.perf_counter() - start)
"""


def orthogonalisation(quick: bool) -> Iterator[Figures]:
    """Share of a product's time that Gram–Schmidt takes at 50 basis vectors."""
    for widths in NETWORKS[:1] if quick else NETWORKS:
        land = landscape(widths, us.nn.Tanh(), SAMPLES)
        op = land.hessian(land.theta)
        shares, products, busy = [], [], []
        for repeat in range(2 if quick else 15 if land.n < 10**5 else 5):
            steps = _steps(land.n, op, repeat, time.perf_counter)
            shares.append(statistics.median(step / product for product, step in steps))
            products.append(statistics.median(product for product, _ in steps))
            steps = _steps(land.n, op, repeat, time.process_time)
            busy.append(statistics.median(step / product for product, step in steps))
        fits = land.n <= CACHED
        yield Figures(
            f"orthogonalisation, {'-'.join(map(str, widths))}: {VECTORS} vectors, {SAMPLES} samples",
            {
                "share of a product, %": 100 * statistics.median(shares),
                "of processor time, %": 100 * statistics.median(busy),
                "product, ms": 1e3 * statistics.median(products),
                "basis, MB": 4e-6 * land.n * VECTORS,
            },
            "10 %, fits the last-level cache" if fits else "35 %, larger than the last-level cache",
        )


def _steps(n: int, op: Any, seed: int, clock: Callable[[], float]) -> list[tuple[float, float]]:
    """(seconds of the product, seconds of the rest of the step) around the 50th step."""
    state = _core.Lanczos(n, "float32", VECTORS + AROUND + 1, np.random.default_rng(seed).standard_normal(n))
    spent = []
    for step in range(VECTORS + AROUND):
        a = clock()
        v = state.next()
        b = clock()
        image = op @ v
        c = clock()
        state.push(image)
        d = clock()
        if step >= VECTORS - AROUND:
            spent.append((c - b, b - a + d - c))
    return spent


def memory(quick: bool) -> Iterator[Figures]:
    """The lowest eigenvalue of diagonal operators, a network-like spectrum with −0.1 planted."""
    tasks = [(10**5, 2**25, 400)] if quick else [(10**7, 2**30, 400), (10**8, 2**30, 400), (10**8, 5 * 2**30, 10)]
    for n, budget, most in tasks:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SCRIPT, str(n), str(budget), str(most)],
            capture_output=True,
            text=True,
            check=True,
        )
        answer, peak, seconds = done.stdout.strip().splitlines()
        yield Figures(
            f"lowest eigenvalue of a diagonal operator, n = {n:.0e}, at most {most} products",
            {"answer": answer, "peak, MiB": float(peak), "seconds": float(seconds)},
            f"{budget / 2**20:.0f} MiB",
        )
