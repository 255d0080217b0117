"""Descent with curvature: what L-BFGS reaches on the examined samples, from here and from other starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UnstuckError
from ..train import Trainer
from .evidence import Fork
from .forks import Course
from .layers import network_landscape
from .objective import Objective
from .subject import Clock, Subject
from .symptoms import OneBatch
from .treatments import fresh_theta

Array = NDArray[Any]

MEMORY = 20  # pairs that curvature is estimated from
FEWEST, MOST = 30, 300  # gradients
LINE_SEARCH = 1e-4  # seconds: what a gradient costs in SciPy beyond itself
STARTS = 8
ONE_BATCH, FEW_GRADIENTS = 32, 100


def try_newton(subject: Subject, control: Course, clock: Clock, seconds: float) -> Fork | None:
    """L-BFGS from θ, for at most as many gradients as the control has updates. Cost: `seconds`, about.

    Descent with curvature also learns what is only noise of the samples. So it learns one half of them and is judged by
    the lowest loss that it has on the other on its way, against the loss there of θ itself.
    """
    most = int(min(max(_affordable(subject, clock, seconds), FEWEST), MOST, control.steps))
    samples, at = subject.curved.samples, np.asarray(subject.theta)
    if samples is None or samples < 4:
        theirs = np.inf if control.broke else float(np.median(control.later))
        loss, used, _ = descend(subject.curved, at, most)
    else:
        learned, kept = _parted(subject, samples // 2)
        theirs = float(kept.loss(at))
        seen = [theirs]
        _, used, _ = descend(learned, at, most, lambda theta: seen.append(float(kept.loss(theta))))
        loss = float(np.nanmin(seen))
    if not np.isfinite(loss):
        return None
    change = f"{used} gradients of L-BFGS" + ("" if samples is None else " (judged on samples that it does not learn)")
    return Fork(used, loss, theirs, 0.0, float(loss < theirs), change)


def try_elsewhere(subject: Subject, run: Trainer, loss: float, clock: Clock, seconds: float) -> Fork | None:
    """The lowest that L-BFGS reaches from several other starts. Cost: `seconds`, about."""
    most = int(min(max(_affordable(subject, clock, seconds) / STARTS, FEWEST), MOST))
    began, found = clock.elapsed, []
    for i in range(STARTS):
        if i > 1 and clock.elapsed - began > seconds:
            break
        found.append(descend(subject.curved, other_start(subject, i), most)[0])
    best = min(found)
    if not np.isfinite(best):
        return None
    change = f"the best of {len(found)} fresh starts and L-BFGS"
    return Fork(most, best, loss, 0.0, float(best < loss), change)


def other_start(subject: Subject, i: int) -> Array:
    """Fresh weights of a network; of another surface a point around a share of θ, as far from it as θ is long."""
    land = network_landscape(subject.land)
    if land is not None:
        return fresh_theta(land, 1 + i)
    rng = np.random.default_rng(i)
    d = rng.standard_normal(subject.land.n)
    d *= max(1.0, float(np.linalg.norm(subject.theta))) / np.linalg.norm(d)
    return np.asarray((1.0 - i / (STARTS - 1)) * subject.theta + d, dtype=subject.theta.dtype)


def starts_around(theta: Array) -> list[Array]:
    """Eight points in opposite pairs, max(1, ‖θ‖) and twice as far from θ in turn."""
    rng, unit = np.random.default_rng(0), max(1.0, float(np.linalg.norm(theta)))
    starts = []
    for away in (1.0, 2.0, 1.0, 2.0):
        d = rng.standard_normal(theta.size)
        d *= away * unit / np.linalg.norm(d)
        starts += [np.asarray(theta + sign * d, dtype=theta.dtype) for sign in (1.0, -1.0)]
    return starts


def _parted(subject: Subject, first: int) -> tuple[Objective, Objective]:
    """The objective on `first` of the examined samples, drawn at random, and on the others."""
    sample, many = subject.curved.sample, subject.curved.samples or 0
    order = np.random.default_rng(0).permutation(np.arange(many) if sample is None else sample)
    learned, kept = (
        Objective(subject.curved.land, subject.curved.decay, np.sort(part).astype(np.int64), subject.tally)
        for part in (order[:first], order[first:])
    )
    return learned, kept


def descend_for_all(subject: Subject, start: Array, most: int) -> tuple[float, int, Array]:
    """(loss, gradients used, where) of L-BFGS on three quarters of the examined samples, at its best on the others.

    To the end it would learn the noise of the samples, too, and new data would be served worse than by nothing.
    """
    samples = subject.curved.samples
    if samples is None or samples < 8:
        return descend(subject.curved, start, most)
    learned, kept = _parted(subject, 3 * samples // 4)
    lowest, best = float(kept.loss(start)), start

    def look(theta: Array) -> None:
        nonlocal lowest, best
        loss = float(kept.loss(theta))
        if loss < lowest:
            lowest, best = loss, theta

    _, used, _ = descend(learned, start, most, look)
    return float(subject.curved.loss(best)), used, best


def descend(
    objective: Objective, theta: Array, most: int, look: Callable[[Array], Any] | None = None
) -> tuple[float, int, Array]:
    """(the lowest loss that L-BFGS comes to, gradients used, where). It stops where its line search finds nothing.

    `look` is called with every θ on the way.
    """
    from scipy.optimize import minimize

    lowest, place = np.inf, theta

    def value(x: Array) -> tuple[float, Array]:
        nonlocal lowest, place
        at = x.astype(theta.dtype)
        loss, gradient = objective.gradient(at)
        if not (np.isfinite(loss) and np.isfinite(gradient).all()):
            return 1e100, np.zeros_like(x)
        if loss < lowest:
            lowest, place = loss, at
        return loss, gradient.astype(np.float64)

    options = {"maxfun": most, "maxiter": most, "maxcor": MEMORY, "ftol": 0.0, "gtol": 0.0}
    try:
        callback = None if look is None else (lambda x: look(x.astype(theta.dtype)) and None)
        start = theta.astype(np.float64)
        used = minimize(value, start, jac=True, method="L-BFGS-B", options=options, callback=callback).nfev
    except UnstuckError:
        return np.inf, 0, theta
    return float(lowest), int(used), place


def try_one_batch(subject: Subject) -> OneBatch | None:
    """L-BFGS on at most 32 samples, from θ. Cost: at most 100 of their gradients; None without data."""
    samples = subject.land.samples
    if samples is None:
        return None
    few = np.sort(np.random.default_rng(0).choice(samples, min(samples, ONE_BATCH), replace=False)).astype(np.int64)
    objective = Objective(subject.curved.land, 0.0, few, subject.tally)
    before = float(objective.loss(subject.theta))
    after, used, _ = descend(objective, subject.theta, FEW_GRADIENTS)
    return OneBatch(len(few), before, min(before, after), used)


def _affordable(subject: Subject, clock: Clock, seconds: float) -> float:
    began = clock.elapsed
    subject.curved.gradient(subject.theta)
    return seconds / (max(clock.elapsed - began, 1e-7) + LINE_SEARCH)
