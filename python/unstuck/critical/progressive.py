"""Progressive classification: directions of curvature from few samples, which the full data then verify."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..curvature.sampling import sample_count, sample_weights
from ..curvature.tall_blocks import combined
from ..errors import ArgumentError
from ..landscape import Landscape
from ..operators import HessianOperator, as_operator
from .ends import difference_noise, rayleigh_ritz
from .gate import norm_of
from .krylov_process import krylov_process
from .rules import RELATIVE_TOLERANCE

Array = NDArray[Any]

FEWEST_SAMPLES = 32
FIRST_SAMPLES = 256  # at most, in the first sample
GROWTH = 4  # from one sample to the next
LARGEST_SHARE = 0.25  # of all samples: beyond, the full data are hardly dearer
STEPS = 40  # of Lanczos on one sample
DIRECTIONS = 3  # negative ones taken on


class SampledSearch:
    """Looks for negative and positive curvature on growing random samples; nothing it says is a proof.

    What bends down on a sample may be that sample's own (its ends are chosen to be extreme): a direction is suggested
    only if the curvature is there on as many other samples, too.

    Args:
        land: a landscape with data that are no batch of their own.
        theta: the point (n,).
        tolerance: τ, or None for 1e-4·‖H‖ of the sample.
        memory: bytes for Lanczos vectors.
        rng: draws the samples and starts.
        progress: called after every step.
        budget: products with all samples that may be used; a sample takes no more than a quarter of it.

    Attributes:
        products: {samples: products with so many}.

    Raises:
        ArgumentError: the landscape has no samples, or couples them.
    """

    def __init__(
        self,
        land: Landscape,
        theta: Array,
        tolerance: float | None,
        memory: int,
        rng: np.random.Generator,
        progress: Callable[[], None],
        budget: int,
    ) -> None:
        try:
            self.samples = sample_count(land)
        except ArgumentError as error:
            raise ArgumentError(f"`progressive=True` needs samples to choose from: {error}") from None
        self.land, self.theta, self.tolerance, self.memory = land, theta, tolerance, memory
        self.rng, self.progress, self.budget = rng, progress, budget
        weight = sample_weights(land)
        usable = np.arange(self.samples) if weight is None else np.flatnonzero(weight > 0.0)
        self.order = rng.permutation(usable)
        self.products: dict[int, int] = {}

    @property
    def cost(self) -> int:
        """Products with all samples that would have cost as much, rounded up."""
        return math.ceil(sum(count * products for count, products in self.products.items()) / self.samples)

    def sizes(self) -> list[int]:
        """Of the samples that are looked at."""
        size = min(max(self.samples // 32, FEWEST_SAMPLES), FIRST_SAMPLES)
        found = []
        largest = self.samples * min(LARGEST_SHARE, 0.25 * self.budget / (STEPS + 2 * DIRECTIONS))
        while size <= largest and 2 * size <= len(self.order):
            found.append(size)
            size *= GROWTH
        return found

    def suggestions(self) -> Iterator[Array]:
        """Unit vectors (n, q + 1): at most 3 that bend down on two samples, the last one up; from small to large."""
        warm: Array | None = None
        for size in self.sizes():
            vectors, tau = self._ends_of(self.order[:size], warm)
            if vectors is None:
                continue
            kept = self._seen_elsewhere(self.order[size : 2 * size], vectors, tau)
            if kept is not None:
                yield kept
            warm = vectors[:, :-1].astype(np.float64).sum(axis=1)

    def _operator(self, batch: Array) -> HessianOperator:
        return as_operator(self.land.hessian(self.theta, np.sort(batch)))

    def _count(self, batch: Array, op: HessianOperator) -> None:
        self.products[len(batch)] = self.products.get(len(batch), 0) + int(op.products)

    def _ends_of(self, batch: Array, warm: Array | None) -> tuple[Array | None, float]:
        """Lowest Ritz vectors and the highest one on a sample, and τ there; None where it does not bend both ways."""
        op = self._operator(batch)
        most = min(int(op.shape[0]), STEPS)
        process = krylov_process(op, self.memory, most, self.rng, _start(warm, self.rng))
        before, low, high = math.inf, 0.0, 0.0
        while not (process.spent or process.exhausted or process.steps >= most):
            process.step()
            self.progress()
            if process.steps % 5 == 0:
                low, high = process.ends()
                if low < -self._tau(low, high) and low >= 1.05 * before:
                    break
                before = low
        low, high = process.ends()
        tau = self._tau(low, high)
        if not (low < -tau and high > tau):
            self._count(batch, op)
            return None, tau
        lowest, highest, _ = process.vectors(tau, min(process.most_verified, DIRECTIONS))
        self._count(batch, op)
        return np.column_stack([lowest, highest / norm_of(highest)]).astype(op.dtype), tau

    def _tau(self, low: float, high: float) -> float:
        return RELATIVE_TOLERANCE * max(abs(low), abs(high)) if self.tolerance is None else self.tolerance

    def _seen_elsewhere(self, batch: Array, vectors: Array, tau: float) -> Array | None:
        """Combinations of the vectors that bend down, and up, on another sample as well."""
        op = self._operator(batch)
        values, weights, _, _ = rayleigh_ritz(op, vectors)
        self._count(batch, op)
        if not (values[0] < -tau and values[-1] > tau):
            return None
        chosen = [*np.flatnonzero(values < -tau)[:DIRECTIONS], len(values) - 1]
        return combined(vectors, weights[:, chosen], op.dtype)


@dataclass(frozen=True)
class Proved:
    """Rayleigh–Ritz on the full data: both ends of the span of a few vectors, by fresh products.

    Attributes:
        values: (q,) ascending.
        vectors: (n, q) theirs, of the operator's type.
        ends: [(unit vector, its product)] of the lowest and the highest.
        noise: measured error of these quotients; 0 for exact products.
    """

    values: Array
    vectors: Array
    ends: list[tuple[Array, Array]]
    noise: float

    @property
    def low(self) -> float:
        """λ_min is not above this."""
        return float(self.values[0])

    @property
    def high(self) -> float:
        """λ_max is not below this."""
        return float(self.values[-1])


def proved(land: Landscape, theta: Array, op: HessianOperator, vectors: Array) -> Proved:
    """One fresh product for every vector (n, q) of `vectors`."""
    values, weights, rounded, products = rayleigh_ritz(op, vectors)
    ends, noise = [], 0.0
    for i in (0, len(values) - 1):
        vector, product = (combined(block, weights[:, [i]])[:, 0] for block in (rounded, products))
        size = norm_of(vector)
        ends.append((vector / size, product / size))
        if not op.exact:
            noise = max(noise, difference_noise(land, theta, ends[-1][0], float(values[i])))
    return Proved(values, combined(rounded, weights, op.dtype), ends, noise)


def _start(warm: Array | None, rng: np.random.Generator) -> Array | None:
    """What bent down on the last sample, and a little of everything."""
    if warm is None:
        return None
    noise = rng.standard_normal(len(warm))
    return np.asarray(warm / norm_of(warm) + 0.3 * noise / norm_of(noise))
