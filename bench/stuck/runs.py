"""Planted faults and healthy runs: each makes a run on a task, and says which causes are right answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import unstuck as us
from bench.stuck.tasks import Task

SGD, Adam = us.optim.SGD, us.optim.Adam
ALL = 10**6  # a batch size that means all data
FINE = "HEALTHY CONVERGED"


@dataclass(frozen=True)
class Plan:
    """How to make a run.

    Attributes:
        name: of the fault, or of the healthy kind.
        causes: right answers, the strict one first.
        make: (task, seed, severity) -> the run, trained.
        severities: from mild to strong.
    """

    name: str
    causes: str
    make: Callable[[Task, int, float], us.Trainer]
    severities: tuple[float, ...] = (1.0,)

    @property
    def faulty(self) -> bool:
        """Whether the run is stuck."""
        return "HEALTHY" not in self.causes


def _train(land: us.NetworkLandscape, opt: object, steps: int, **options: object) -> us.Trainer:
    run = us.Trainer(land, opt, **{"batch_size": 32, **options})  # type: ignore[arg-type]
    with contextlib.suppress(us.errors.NonFiniteError), np.errstate(all="ignore"):
        run.fit(steps=steps)
    return run


def _biased(task: Task, seed: int, activation: str, bias: float) -> us.Trainer:
    land = task.land(seed, (48,), activation)
    land.net.block("0.bias")[:] = bias
    return _train(land, SGD(lr=task.rate), 400, seed=seed)


def _bearable(land: us.NetworkLandscape) -> float:
    """Half the rate that the steepest direction bears at the start."""
    return 1.0 / us.curvature.eigenpairs(land.hessian(land.theta), k=1, which="largest", seed=0).values[0]


def _unscaled(task: Task, seed: int, factor: float) -> us.Trainer:
    width = task.data(seed)[0].shape[1]
    scale = np.where(np.arange(width) == seed % width, factor, 1.0)
    land = task.land(seed, (), scale=scale)
    return _train(land, SGD(lr=_bearable(land)), 1500, batch_size=ALL)


def _normalised(task: Task, seed: int, momentum: float, steps: int, shift: float = 0.0) -> us.Trainer:
    land = task.land(seed, between=lambda width: [us.nn.BatchNorm(width, momentum=momentum)], shift=shift)
    return _train(land, Adam(lr=1e-3), steps, seed=seed)


FAULTS = (
    Plan("zero start, one hidden layer", "STRICT_SADDLE BAD_INITIALISATION FLAT_SADDLE",
         lambda t, s, v: _train(t.land(s, init="zeros"), SGD(lr=v * t.rate), 300, seed=s), (1.0, 2.0)),
    Plan("zero start, two hidden layers", "FLAT_SADDLE BAD_INITIALISATION STRICT_SADDLE",
         lambda t, s, v: _train(t.land(s, (24, 24), init="zeros"), SGD(lr=v * t.rate), 400, seed=s), (1.0, 2.0)),
    Plan("SGD rate far too large", "STEP_TOO_LARGE NON_FINITE",
         lambda t, s, v: _train(t.land(s), SGD(lr=v * t.rate, momentum=0.9), 300, seed=s), (100.0, 300.0)),
    Plan("Adam rate far too large", "STEP_TOO_LARGE SATURATED_UNITS",
         lambda t, s, v: _train(t.land(s), Adam(lr=v), 500, seed=s), (0.5, 2.0)),
    Plan("SGD rate far too small", "STEP_TOO_SMALL",
         lambda t, s, v: _train(t.land(s), SGD(lr=v * t.rate), 400, seed=s), (1e-6, 1e-8)),
    Plan("Adam rate far too small", "STEP_TOO_SMALL",
         lambda t, s, v: _train(t.land(s, activation="ReLU"), Adam(lr=v), 400, seed=s), (1e-8, 1e-9)),
    Plan("rate decays at once", "EXHAUSTED_STEP STEP_TOO_SMALL",
         lambda t, s, v: _train(t.land(s), SGD(lr=us.schedules.exponential(t.rate, v)), 500, seed=s), (0.9, 0.8)),
    Plan("dead layer", "DEAD_UNITS BAD_INITIALISATION", lambda t, s, v: _biased(t, s, "ReLU", -v), (30.0, 100.0)),
    Plan("saturated layer", "SATURATED_UNITS BAD_INITIALISATION",
         lambda t, s, v: _biased(t, s, "Sigmoid", -v), (40.0, 80.0)),
    Plan("deep sigmoid", "VANISHING_GRADIENT SATURATED_UNITS STRICT_SADDLE FLAT_SADDLE",
         lambda t, s, v: _train(t.land(s, (24,) * int(v), "Sigmoid"), SGD(lr=t.rate), 500, seed=s), (5.0, 8.0)),
    Plan("one huge column", "UNSCALED_FEATURES ILL_CONDITIONED", _unscaled, (1e4, 1e5)),
    Plan("statistics that never follow", "STALE_STATISTICS",
         lambda t, s, v: _normalised(t, s, v, 400, shift=20.0), (1e-4, 1e-5)),
    Plan("overflow", "NON_FINITE STEP_TOO_LARGE",
         lambda t, s, v: _train(t.land(s, activation="ReLU"), SGD(lr=v), 500, seed=s), (1e4, 1e6)),
)  # fmt: skip

HEALTHY = (
    Plan("Adam", FINE, lambda t, s, v: _train(t.land(s), Adam(lr=1e-3), 400, seed=s)),
    Plan("SGD", FINE, lambda t, s, v: _train(t.land(s), SGD(lr=t.rate), 400, seed=s)),
    Plan("momentum", FINE,
         lambda t, s, v: _train(t.land(s, activation="ReLU"), SGD(lr=0.2 * t.rate, momentum=0.9), 400, seed=s)),
    Plan("small noisy batches", FINE, lambda t, s, v: _train(t.land(s), SGD(lr=0.2 * t.rate), 400, batch_size=4)),
    Plan("all data", FINE, lambda t, s, v: _train(t.land(s), SGD(lr=2 * t.rate), 150, batch_size=ALL)),
    Plan("edge of stability", FINE,
         lambda t, s, v: _train(t.land(s), SGD(lr=10 * t.rate), 200, batch_size=ALL)),
    Plan("warm-up in progress", FINE,
         lambda t, s, v: _train(t.land(s), Adam(lr=us.schedules.warmup_cosine(peak=1e-3, warmup=300, total=3000)), 60)),
    Plan("trained to the end", FINE, lambda t, s, v: _train(t.land(s), Adam(lr=1e-3), 5000, seed=s)),
    Plan("rate spikes", FINE,
         lambda t, s, v: _train(t.land(s), Adam(lr=lambda k: 5e-3 if k % 100 < 5 else 1e-3), 700, seed=s)),
    Plan("strong penalty", FINE,
         lambda t, s, v: _train(t.land(s, l2=1e-2),
                                Adam(lr=us.schedules.warmup_cosine(peak=1e-2, warmup=20, total=1500)), 1500, seed=s)),
    Plan("sparse ReLU", FINE, lambda t, s, v: _train(t.land(s, (96,), "ReLU"), Adam(lr=1e-3), 300, seed=s)),
    Plan("batch normalisation", FINE, lambda t, s, v: _normalised(t, s, 0.1, 300)),
    Plan("ten updates", FINE, lambda t, s, v: _train(t.land(s), Adam(lr=1e-3), 10, seed=s)),
)  # fmt: skip
