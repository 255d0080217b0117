"""Is a series of losses falling, by more than its own noise? Block means, a rank test, no assumed distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCKS = 12
LEAST = 2 * BLOCKS  # a block mean needs two losses


@dataclass(frozen=True)
class Trend:
    """How a series of losses moves over a window.

    Attributes:
        updates: length of the window.
        start: mean of its first quarter.
        end: mean of its last quarter.
        z: Mann–Kendall statistic of the block means, widened by their own correlation; negative when falling.
        steady: fraction of neighbouring block means that fall.
        noise: standard deviation of the block means around a robust line.
    """

    updates: int
    start: float
    end: float
    z: float
    steady: float
    noise: float

    @property
    def drop(self) -> float:
        """Start − end."""
        return self.start - self.end

    @property
    def slope(self) -> float:
        """Change of the loss per update."""
        return -self.drop / (0.75 * self.updates)

    @property
    def falling(self) -> bool:
        """Falling by more than the noise: the rank test says so, or almost every block lies below the one before.

        The second is for smooth curves, whose bends look like correlated noise to the first. Were the loss a
        random walk, 10 of 11 steps down would have the probability 0.006.
        """
        return self.drop > 0 and (self.z <= -2.33 or self.steady >= 10 / 11)

    @property
    def rising(self) -> bool:
        """Rising by more than the noise."""
        return self.drop < 0 and (self.z >= 2.33 or self.steady <= 1 / 11)


def measure_trend(losses: Array) -> Trend | None:
    """The trend of a series of at least 24 losses, by the means of 12 blocks; None for a shorter one.

    The test is Mann's and Kendall's with the variance of Hamed and Rao (J. Hydrology 204, 1998), first lag only; the
    robust line is Theil's and Sen's.
    """
    length = len(losses) // BLOCKS
    if length < 2:
        return None
    recent = np.asarray(losses[len(losses) - length * BLOCKS :], dtype=np.float64)
    return trend_of_levels(recent.reshape(BLOCKS, length).mean(axis=1), length * BLOCKS)


def trend_of_levels(levels: Array, updates: int) -> Trend:
    """The trend of at least three equally spaced levels of the loss that span `updates` updates."""
    count = len(levels)
    place = np.arange(count) - (count - 1) / 2
    first, second = _pairs(count)
    rises = levels[second] - levels[first]
    slope = float(np.median(rises / (second - first)))
    rest = levels - slope * place
    quarter = max(1, count // 4)
    # rounding of a mean is not a fall
    grain = 8 * float(np.finfo(np.float64).eps) * float(np.abs(levels).max())
    counted = np.where(np.abs(rises) > grain, np.sign(rises), 0.0)
    variance = count * (count - 1) * (2 * count + 5) / 18 * _inflation(levels)
    return Trend(
        updates=updates,
        start=float(levels[:quarter].mean()),
        end=float(levels[-quarter:].mean()),
        z=float(counted.sum()) / math.sqrt(variance),
        steady=float(np.mean(np.diff(levels) < -grain)),
        noise=float(rest.std()),
    )


@lru_cache(maxsize=64)
def _pairs(count: int) -> tuple[Array, Array]:
    """All pairs i < j below `count`."""
    first, second = np.triu_indices(count, 1)
    return first, second


@lru_cache(maxsize=64)
def _parabolas(count: int) -> Array:
    """An orthonormal basis (count, 3) of the parabolas over `count` equally spaced places."""
    place = np.linspace(-1.0, 1.0, count)
    basis: Array = np.linalg.qr(np.vander(place, min(3, count)))[0]
    return basis


def _inflation(levels: Array) -> float:
    """(1 + ρ)/(1 − ρ) with the first autocorrelation ρ of what a parabola leaves over: bends are not noise."""
    basis = _parabolas(len(levels))
    rest = levels - basis @ (basis.T @ levels)
    power = float(rest @ rest)
    if power == 0.0:
        return 1.0
    correlation = min(max(float(rest[1:] @ rest[:-1]) / power, 0.0), 0.8)
    return (1 + correlation) / (1 - correlation)


def has_stalled(losses: Array, whole: Trend, share: float = 0.3) -> bool:
    """Whether the last `share` of a falling window has stopped falling.

    True only where the fall, had it gone on, would have stood out: by four standard errors of the last blocks.
    """
    latest = measure_trend(losses[len(losses) - int(share * whole.updates) :])
    if latest is None:
        return False
    expected = -0.75 * whole.slope * latest.updates
    # standard error of the change over 12 blocks, from their scatter around the line: √(12/(b³ − b))·b ≈ 3.5/√b
    error = 3.5 / math.sqrt(BLOCKS) * latest.noise
    return expected > 4 * error and latest.drop < 0.15 * expected


def still_lower(losses: Array) -> bool:
    """Whether the later half of a series lies below the earlier one: six block means each, by Welch's t above 2.5."""
    levels = _blocks(losses, BLOCKS)
    return _welch(levels[: BLOCKS // 2], levels[BLOCKS // 2 :]) > 2.5


def shift_of(before: Array, after: Array) -> float | None:
    """Welch's t of six block means each, positive where `after` lies lower; None for fewer than 12 losses."""
    half = BLOCKS // 2
    return None if min(len(before), len(after)) < BLOCKS else _welch(_blocks(before, half), _blocks(after, half))


def _blocks(losses: Array, count: int) -> Array:
    length = len(losses) // count
    levels: Array = np.asarray(losses[len(losses) - length * count :], np.float64).reshape(count, length).mean(axis=1)
    return levels


def _welch(early: Array, late: Array) -> float:
    spread = math.sqrt(early.var(ddof=1) / len(early) + late.var(ddof=1) / len(late))
    return float(early.mean() - late.mean()) / max(spread, 1e-300)
