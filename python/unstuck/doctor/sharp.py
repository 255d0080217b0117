"""Probes: how sharp a place is, whatever the scale of its weights, and whether a flatter one serves new data better.

A place is as flat as the largest ρ at which the loss, averaged over ε, stays low when every parameter is multiplied by
1 + ρε, ε standard normal. As the adaptive sharpness of Kwon et al. (arXiv 2102.11600) this does not change when the
weights in front of a ReLU unit are scaled up and those behind it down, which leaves the function as it is and moves
every eigenvalue of the Hessian; and unlike curvature it does not vanish with the loss of a sure classifier.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..train import Trainer
from . import forks
from .evidence import Fork
from .forks import Course
from .layers import network_landscape
from .objective import Objective, examined_samples
from .subject import Clock, Subject
from .symptoms import Generalisation, Sharpness
from .treatments import fresh_theta

Array = NDArray[Any]

RHOS = 0.01 * 2.0 ** np.arange(0.0, 8.5, 0.5)  # 1 % to 256 %
RISE = 0.1  # of what there is to learn: the rise that ends the flat place
DRAWS = 8
MOST_SAMPLES = 4096
FEWEST_BATCHES = 8  # in an epoch of the flatter start


def radius_at(objective: Objective, theta: Array, room: float) -> float:
    """The largest ρ at which the median over 8 draws of L(θ·(1 + ρε)) − L(θ) stays below a tenth of `room`.

    Interpolated on a scale of logarithms between steps of √2, within 1 % and 256 %. Cost: at most 137 losses.
    """
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((DRAWS, theta.size))
    here, before = float(objective.loss(theta)), 0.0
    for k, rho in enumerate(RHOS):
        rise = float(np.median([objective.loss((theta * (1.0 + rho * d)).astype(theta.dtype)) for d in draws])) - here
        if not rise < RISE * room:
            share = (RISE * room - before) / (rise - before) if np.isfinite(rise) else 0.5
            return float(rho if k == 0 else RHOS[k - 1] * 2.0 ** (0.5 * share))
        before = max(rise, 0.0)
    return float(RHOS[-1])


def look_for_flatter(
    subject: Subject, run: Trainer, known: Generalisation, room: float, clock: Clock, seconds: float
) -> tuple[Sharpness, Fork] | None:
    """(sharpness here and there, the loss on new data there against here) of a fresh start with smaller batches.

    Cost: `seconds`, about; None without a network or validation data.
    """
    land = network_landscape(subject.land)
    if land is None or run.validation is None:
        return None
    new = run.validation.land
    judged = Objective(new, 0.0, examined_samples(new.samples, MOST_SAMPLES), subject.tally)
    fork = flatter_start(run.fork(), fresh_theta(land))
    steps = forks.affordable_steps(subject, run.fork(), clock, seconds)
    course = forks.follow(subject, fork, steps, judged)
    stands = Course(np.full(len(course.losses), known.validation), steps, False)
    change = f"fresh weights and batches of {fork.sampler.batch_size} samples (loss on new data)"
    found = forks.compare(subject, course, stands, change)
    there = 0.0 if course.broke else radius_at(subject.objective, fork.theta, room)
    return Sharpness(radius_at(subject.objective, subject.theta, room), there), found


def flatter_start(fork: Trainer, theta: Array) -> Trainer:
    """The fork with fresh weights, and batches of an eighth of the data at most."""
    samples = fork.sampler.samples or 1
    size = max(1, min(fork.sampler.batch_size, samples // FEWEST_BATCHES))
    return forks.with_batch(forks.moved(fork, theta), size)
