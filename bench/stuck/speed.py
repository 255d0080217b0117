"""Seconds of a diagnosis on the digits perceptron, and what watching for plateaus costs a healthy run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import unstuck as us
from bench.stuck.examine import PLANS
from bench.stuck.plan import Setup
from bench.stuck.tasks import CALIBRATION, Task, all_digits

DIGITS = Task("all digits", CALIBRATION, all_digits, 10, 0.05)
WATCHED: dict[str, tuple[Callable[[], Any], int]] = {
    "SGD": (lambda: us.optim.SGD(lr=0.02), 4000),
    "Adam": (lambda: us.optim.Adam(lr=3e-4), 4000),
    "to the end": (lambda: us.optim.Adam(lr=1e-3), 12000),
}


def report(quick: bool = False) -> dict[str, Any]:
    """Both, printed."""
    return {"diagnosis": _diagnosis(quick), "watching": {name: _watching(name, 3 if quick else 9) for name in WATCHED}}


def _diagnosis(quick: bool) -> dict[str, Any]:
    """Every plan's first severity on all 1,797 digits, in one process."""
    seconds: dict[str, float] = {}
    for plan in PLANS[:: 4 if quick else 1]:
        if not plan.fits(DIGITS):
            continue
        run = plan.make(DIGITS, 0, plan.severities[0])
        began = time.perf_counter()
        us.diagnose(run)
        seconds[plan.name] = time.perf_counter() - began
    faulty = [seconds[plan.name] for plan in PLANS if plan.name in seconds and plan.faulty]
    every = sorted(seconds.values())
    print(
        f"diagnosis on the digits perceptron: median {statistics.median(every):.2f} s over {len(every)} runs "
        f"(faulty ones {statistics.median(faulty):.2f} s), largest {every[-1]:.2f} s"
    )
    return seconds


def _watching(name: str, repeats: int) -> dict[str, Any]:
    """`fit(unstick=True)` against `fit`, taking turns from the same start."""
    make, steps = WATCHED[name]
    times: dict[bool, list[float]] = {False: [], True: []}
    for i in range(repeats):
        for watched in (False, True) if i % 2 else (True, False):
            run = Setup(DIGITS.land(0, (64,)), make(), 0).train()
            began = time.perf_counter()
            run.fit(steps=steps, unstick=watched)
            times[watched].append(time.perf_counter() - began)
            acted = len(run.history.events)
    ratio = statistics.median(b / a for a, b in zip(times[False], times[True], strict=True))
    plain = statistics.median(times[False])
    print(f"watching a healthy run, {name}: {ratio - 1:+.1%} of {plain:.2f} s ({steps} updates, {acted} events)")
    return {"ratio": ratio, "plain": times[False], "watched": times[True], "events": acted}
