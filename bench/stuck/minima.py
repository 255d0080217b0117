"""Minima that are certified, and higher than others of the same network: the planted LOCAL_MINIMUM."""

from __future__ import annotations

from functools import cache

import numpy as np
import scipy.optimize

import unstuck as us
from bench.stuck.plan import ALL, Setup
from bench.stuck.tasks import TASKS, Task

STARTS = 12
PENALTY = 1e-4  # keeps the minima at finite weights
MOST_COLUMNS = 16


def has_few_columns(task: Task) -> bool:
    """Tasks small enough for a dense Hessian and many descents."""
    return task.kind == "perceptron" and task.load()[0].shape[1] <= MOST_COLUMNS


def worst_minimum(task: Task, seed: int, units: float) -> Setup:
    """A run that has come to rest in the highest of the strict minima that L-BFGS finds from a dozen starts.

    Strict: the smallest eigenvalue of the dense Hessian (float64, all data) is above 10⁻⁶ of the largest.
    """
    _, theta, steepest = max(_minima(task.name, seed, units), key=lambda one: one[0])
    land = _land(task, seed, units, 0)
    land.theta[:] = theta
    return Setup(land, us.optim.SGD(lr=0.5 / steepest), 400, {"batch_size": ALL})


def lowest_minimum(task: Task, seed: int, units: float) -> float:
    """The loss of the lowest of them."""
    return min(loss for loss, _, _ in _minima(task.name, seed, units))


@cache
def _minima(task_name: str, seed: int, units: float) -> list[tuple[float, np.ndarray, float]]:
    """[(loss, θ, largest curvature)]; the first start itself where no descent ends in a strict minimum."""
    task = next(task for task in TASKS if task.name == task_name)
    found, ends = [], []
    for start in range(STARTS):
        land = _land(task, seed, units, start)
        theta = _descend(land)
        values = np.linalg.eigvalsh(land.hessian(theta) @ np.eye(land.n))
        ends.append((float(land.loss(theta)), theta, float(values[-1])))
        if values[0] > 1e-6 * values[-1]:
            found.append(ends[-1])
    return found or ends[:1]


def _land(task: Task, seed: int, units: float, start: int) -> us.NetworkLandscape:
    land = task.land(seed, (int(units),), l2=PENALTY, dtype="float64")
    land.theta[:] = (1.0 + 2.0 * (start % 2)) * np.random.default_rng(seed * 100 + start).normal(size=land.n)
    return land


def _descend(land: us.NetworkLandscape) -> np.ndarray:
    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = land.gradient(theta)
        return float(loss), np.asarray(gradient, dtype=np.float64)

    options = {"maxiter": 1500, "gtol": 1e-9, "ftol": 0.0, "maxfun": 3000}
    return scipy.optimize.minimize(objective, land.theta.copy(), jac=True, method="L-BFGS-B", options=options).x
