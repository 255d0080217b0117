"""A walk: the points an optimizer visits on a surface, and the rate it takes for each parameter on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..optim.base import Optimizer
from .surfaces import Surface

Array = NDArray[np.float64]
AWAY = 1e100  # beyond it a walk has run away; squares and cubes of what lies within are finite


@dataclass(frozen=True, eq=False)
class Walk:
    """What `walk` found.

    Attributes:
        surface: where.
        thetas: the points (steps + 1, n), the start included; shorter where they ran away.
        gradients: what the optimizer was given, (steps, n), noise included.
    """

    surface: Surface
    thetas: Array
    gradients: Array

    @property
    def rates(self) -> Array:
        """|Δθᵢ|/|gᵢ| of every step, (steps, n): η/σᵢ where the rule has no momentum; NaN where gᵢ = 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.gradients == 0.0, np.nan, np.abs(np.diff(self.thetas, axis=0) / self.gradients))

    @property
    def distances(self) -> Array:
        """‖θ − goal‖ at every point, (steps + 1,)."""
        return np.asarray(np.linalg.norm(self.thetas - self.surface.goal, axis=1))

    def arrival(self, radius: float) -> int | None:
        """Steps until the walk is within `radius` of the goal and stays there; None if it is not at the end."""
        outside = np.flatnonzero(~(self.distances <= radius))
        last = int(outside[-1]) + 1 if len(outside) else 0
        return last if last < len(self.thetas) else None


def walk(surface: Surface, opt: Optimizer, start: Array, steps: int, noise: float = 0.0, seed: int = 0) -> Walk:
    """At most `steps` updates of a fresh copy of `opt` from `start`; stops before a point beyond 10¹⁰⁰.

    Gaussian noise of standard deviation `noise` is added to every component of every gradient.
    """
    worker, theta = opt.copy(), np.array(start, dtype=np.float64)
    worker.init(theta.size, theta.dtype)
    rng = np.random.default_rng(seed)
    thetas, gradients = np.empty((steps + 1, theta.size)), np.empty((steps, theta.size))
    thetas[0] = theta
    for t in range(steps):
        gradients[t] = surface.gradients(theta)
        if noise:
            gradients[t] += noise * rng.standard_normal(theta.size)
        worker.step(theta, gradients[t])
        if not np.abs(theta).max() < AWAY:
            return Walk(surface, thetas[: t + 1].copy(), gradients[:t].copy())
        thetas[t + 1] = theta
    return Walk(surface, thetas, gradients)


def thinned(thetas: Array, points: int = 2000) -> Array:
    """At most about `points` of the rows, evenly chosen, the first and the last among them."""
    stride = max(1, len(thetas) // points)
    return np.concatenate([thetas[:-1:stride], thetas[-1:]])
