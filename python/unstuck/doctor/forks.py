"""Forks: copies of the run that are trained on under one changed condition each, beside a do-nothing control."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NonFiniteError
from ..sampler import Sampler
from ..schedules import Schedule, scale
from ..train import Trainer
from .evidence import Fork
from .objective import Objective
from .subject import Clock, Subject

Array = NDArray[Any]

CHECKPOINTS = 24
FEWEST, MOST = CHECKPOINTS, 24_000  # updates of a fork


@dataclass(frozen=True)
class Course:
    """The objective along a fork.

    Attributes:
        losses: at equally spaced checkpoints, the first before any update; shorter when the fork broke.
        steps: updates that were asked for.
        broke: whether a non-finite loss ended it.
    """

    losses: Array
    steps: int
    broke: bool

    @property
    def later(self) -> Array:
        """The losses of the later half of the checkpoints."""
        return self.losses[1 + CHECKPOINTS // 2 :]


def affordable_steps(subject: Subject, fork: Trainer, clock: Clock, seconds: float) -> int:
    """How many updates a fork may make for `seconds`, checkpoints included; the fork is used up.

    By the wall's clock it is timed on its first updates.
    """
    tally, samples = subject.tally, subject.objective.samples or 1
    if clock.tally is None:
        per_step, per_look = _timed(subject, fork, seconds)
    else:
        per_step, per_look = tally.costs.of_update(fork.sampler.batch_size), tally.costs.of_loss(samples)
    wanted = (seconds - per_look * (CHECKPOINTS + 1)) / max(per_step, 1e-9)
    patience = max(600, 2 * subject.run.t if subject.run is not None else 0)
    steps = int(min(max(wanted, FEWEST), MOST, patience))
    return steps - steps % CHECKPOINTS


def _timed(subject: Subject, fork: Trainer, seconds: float) -> tuple[float, float]:
    """(seconds of an update, seconds of a look at the loss) by the wall's clock, from at most 64 updates."""
    began = time.perf_counter()
    trial = 0
    while trial < 64 and time.perf_counter() - began < 0.1 * seconds:
        try:
            fork.fit(steps=4)
        except NonFiniteError:
            break
        trial += 4
    per_step = (time.perf_counter() - began) / max(trial, 1)
    began = time.perf_counter()
    subject.objective.loss(fork.theta)
    return per_step, time.perf_counter() - began


def follow(subject: Subject, fork: Trainer, steps: int, objective: Objective | None = None) -> Course:
    """Trains the fork for `steps` updates, a multiple of 24, and looks at the objective on the way."""
    measured = objective or subject.objective
    losses = [measured.loss(fork.theta)]
    try:
        for _ in range(CHECKPOINTS):
            subject.tally.update(fork.sampler.batch_size, steps // CHECKPOINTS)
            fork.fit(steps=steps // CHECKPOINTS)
            losses.append(measured.loss(fork.theta))
    except NonFiniteError:
        return Course(np.array(losses), steps, True)
    return Course(np.array(losses), steps, not math.isfinite(losses[-1]))


def compare(subject: Subject, fork: Course, control: Course, change: str) -> Fork:
    """A fork against its control over the same checkpoints: by medians, which single spikes do not move.

    The standard error is that of the mean difference, outliers drawn in to three scaled median deviations, widened by
    the first autocorrelation of the differences; it never falls below the rounding of the losses.
    """
    mine, theirs = _typical(fork), _typical(control)
    curves = tuple(fork.losses.tolist()), tuple(control.losses.tolist())
    if fork.broke or control.broke:
        return Fork(fork.steps, mine, theirs, 0.0, float(mine < theirs), change, fork.broke, *curves)
    difference = control.later - fork.later
    grain = 4 * subject.dtype_error * np.abs(control.later)
    wins = float(np.mean(difference > grain))
    middle = float(np.median(difference))
    reach = 3 * 1.4826 * float(np.median(np.abs(difference - middle)))
    if reach > 0.0:
        difference = np.clip(difference, middle - reach, middle + reach)
    rest = difference - difference.mean()
    power = float(rest @ rest)
    correlation = min(max(float(rest[1:] @ rest[:-1]) / power, 0.0), 0.8) if power > 0 else 0.0
    error = math.sqrt(power / (len(rest) - 1) / len(rest) * (1 + correlation) / (1 - correlation))
    return Fork(fork.steps, mine, theirs, max(error, float(grain.max())), wins, change, False, *curves)


def _typical(course: Course) -> float:
    return math.inf if course.broke else float(np.median(course.later))


def with_rate(fork: Trainer, factor: float) -> Trainer:
    """The fork with every learning rate multiplied by `factor`."""
    lr = fork.opt.lr
    fork.opt.lr = _scaled(lr, factor) if callable(lr) else factor * lr
    return fork


def with_batch(fork: Trainer, batch_size: int) -> Trainer:
    """The fork with another batch size, from the start of its epoch."""
    sampler = Sampler(fork.sampler.samples, batch_size, fork.seed)
    sampler.epoch, fork.batch_size, fork.sampler = fork.sampler.epoch, batch_size, sampler
    return fork


def moved(fork: Trainer, theta: Array) -> Trainer:
    """The fork at another point, its optimizer started afresh."""
    fork.move_to(theta)
    return fork


def _scaled(schedule: Callable[[int], float], factor: float) -> Callable[[int], float]:
    """A schedule that watches the training goes on watching."""
    return scale(schedule, factor) if isinstance(schedule, Schedule) else lambda t: factor * schedule(t)
