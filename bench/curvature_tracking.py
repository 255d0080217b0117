"""What a SharpnessTracker adds to training: the same updates with and without one, in turns."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import unstuck as us
from bench.figures import Figures

# widths, activation, batch (1797: all data), updates of one timed call
RUNS = [
    ((64, 128, 128, 10), us.nn.ReLU(), 32, 2000),
    ((64, 512, 512, 10), us.nn.ReLU(), 128, 200),
    ((64, 64, 64, 10), us.nn.Tanh(), 1797, 200),
]
RULES: dict[str, Callable[[], us.optim.Optimizer]] = {
    "Adam": lambda: us.optim.Adam(lr=1e-3),
    "SGD with momentum": lambda: us.optim.SGD(lr=0.05, momentum=0.9),
}


def measure(quick: bool) -> Iterator[Figures]:
    """Every network with either optimizer."""
    for widths, activation, batch, updates in RUNS[:1] if quick else RUNS:
        for rule, make in RULES.items():
            yield _row(widths, activation, batch, updates // 10 if quick else updates, rule, make, 2 if quick else 9)


def _row(
    widths: tuple[int, ...],
    activation: us.nn.Layer,
    batch: int,
    updates: int,
    rule: str,
    make: Callable[[], us.optim.Optimizer],
    repeats: int,
) -> Figures:
    alone, tracked = (_run(widths, activation, batch, make) for _ in range(2))
    tracker = us.curvature.SharpnessTracker(tracked.land).attach(tracked)
    for run in (alone, tracked):
        run.fit(steps=100)  # with the first look
    ratios, seconds = [], []
    for repeat in range(repeats):
        spent = {}
        for run in (alone, tracked) if repeat % 2 else (tracked, alone):
            start, cpu = time.perf_counter(), time.process_time()
            run.fit(steps=updates)
            spent[run] = (time.perf_counter() - start, time.process_time() - cpu)
        ratios.append([b / a - 1.0 for a, b in zip(spent[alone], spent[tracked], strict=True)])
        seconds.append(spent[alone][0] / updates)
    if not np.array_equal(alone.theta, tracked.theta):
        raise RuntimeError("tracking changed the training: nothing is stated")
    wall, cpu_time = zip(*ratios, strict=True)
    low, middle, high = statistics.quantiles(wall, n=4, method="inclusive")
    fresh = [look.products for look in tracker.looks if not np.isnan(look.lambda_max_upper)]
    others = [look.products for look in tracker.looks if np.isnan(look.lambda_max_upper)]
    return Figures(
        f"tracking at one look per 50 updates, {'-'.join(map(str, widths))}, batch {batch}, {rule}",
        {
            "added, % of the time": f"{100 * middle:.1f} [{100 * low:.1f}, {100 * high:.1f}]",
            "added, % of processor time": 100 * statistics.median(cpu_time),
            "samples looked at": tracker.looks[-1].samples,
            "products of a look": statistics.fmean(others),
            "products of the fresh runs": str(fresh),
            "update alone, µs": 1e6 * statistics.median(seconds),
        },
        "5 %",
    )


def _run(widths: tuple[int, ...], activation: us.nn.Layer, batch: int, make: Callable[[], Any]) -> us.Trainer:
    layers: list[us.nn.Layer] = []
    for a, b in itertools.pairwise(widths):
        layers += [us.nn.Linear(a, b), activation]
    net = us.nn.Network(*layers[:-1], input_shape=(widths[0],), seed=0)
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), *us.data.digits())
    return us.Trainer(land, make(), batch_size=batch)
