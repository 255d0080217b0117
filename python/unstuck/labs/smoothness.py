"""How smooth a surface is along the step that training takes: the three measures of arXiv 1805.11604, and its shift.

From θ the loss L(θ − ηg) and gradient are followed along g = ∇L(θ) for several η around the learning rate: the range of
the losses (loss variation), the range of the distances ‖∇L(θ) − ∇L(θ − ηg)‖ (gradient predictiveness) and the largest
such distance over the length of the way (effective β-smoothness). Internal covariate shift is what a layer's gradient
changes by when only the layers before it take their step.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..landscape import Block

Array = NDArray[Any]


class Slope(Protocol):
    """What is descended: loss and gradient on a batch."""

    def gradient(self, theta: Any, batch: Any = None) -> tuple[float, Array]:
        """(L, ∇L) at θ on the samples `batch`."""
        ...


@dataclass(frozen=True)
class AlongTheStep:
    """The three measures at one point.

    Attributes:
        losses: L(θ − ηg) for every η, (k,).
        distances: ‖∇L(θ) − ∇L(θ − ηg)‖, (k,).
        beta: the largest of the distances over η‖g‖.
    """

    losses: Array
    distances: Array
    beta: float


def along_the_step(land: Slope, theta: Array, gradient: Array, batch: Array, rates: Sequence[float]) -> AlongTheStep:
    """Follows −g from θ by every η of `rates`, on the batch that g belongs to."""
    length = float(np.linalg.norm(gradient))
    losses, distances = [], []
    for rate in rates:
        loss, there = land.gradient(theta - np.asarray(rate, theta.dtype) * gradient, batch)
        losses.append(loss)
        distances.append(float(np.linalg.norm(gradient - there)))
    ways = np.maximum(np.asarray(rates) * length, np.finfo(np.float64).tiny)
    return AlongTheStep(np.array(losses), np.array(distances), float(np.max(distances / ways)))


def covariate_shift(
    land: Slope, theta: Array, gradient: Array, batch: Array, rate: float, layers: Sequence[Sequence[Block]]
) -> tuple[float, float]:
    """How much a layer's gradient changes when the layers before it take their step, as 1805.11604 measures it.

    Args:
        land: the surface.
        theta: where all layers stand.
        gradient: ∇L there.
        batch: the samples.
        rate: learning rate of the step.
        layers: the blocks of every layer, in the network's order.

    Returns:
        (median over the layers of ‖G − G′‖/‖G‖, median of the cosine of the angle between G and G′).
    """
    sizes, cosines = [], []
    moved = theta.copy()
    for before, own in itertools.pairwise(layers):
        for _, where, _ in before:
            moved[where] -= np.asarray(rate, theta.dtype) * gradient[where]
        then = land.gradient(moved, batch)[1]
        now, after = (np.concatenate([g[where] for _, where, _ in own]).astype(np.float64) for g in (gradient, then))
        length = max(float(np.linalg.norm(now)), np.finfo(np.float64).tiny)
        sizes.append(float(np.linalg.norm(now - after)) / length)
        cosines.append(float(now @ after) / max(length * float(np.linalg.norm(after)), np.finfo(np.float64).tiny))
    return float(np.median(sizes)), float(np.median(cosines))


def descent(land: Slope, theta: Array, samples: int, batch: int, rate: float, updates: int, seed: int) -> Iterator[Any]:
    """Plain gradient descent, in place: yields (batch, gradient) before every update; ends where it is not finite."""
    from ..optim import SGD
    from ..sampler import Sampler

    sampler, opt = Sampler(samples, batch, seed), SGD(lr=rate)
    for _ in range(updates):
        chosen = sampler.batch()
        indices = np.arange(samples) if chosen is None else np.array(chosen)
        loss, gradient = land.gradient(theta, indices)
        if not (np.isfinite(loss) and np.isfinite(gradient).all()):
            return
        yield indices, gradient
        opt.step(theta, gradient)
        sampler.advance(1)
