"""Standardiser: brings features to mean 0 and deviation 1 with the statistics of the training part."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ArgumentError, NonFiniteError


class Standardiser:
    """x̃ = (x − m)/σ per feature, m and σ over everything given to `update`.

    Statistics are float64: two passes within a batch, Chan's formula between batches, so that neither large
    offsets nor the number of batches cost digits. A constant feature has σ = 1 and becomes 0.

    Attributes:
        n: samples seen.
        mean: (d,) float64.
        scale: (d,) float64, the population standard deviation, 1 for a constant feature.
        constant: (d,) bool.

    Source: T. F. Chan, G. H. Golub, R. J. LeVeque (1979), Updating formulae and a pairwise algorithm.
    """

    def __init__(self) -> None:
        self.n = 0
        self.mean: NDArray[np.float64] = np.empty(0)
        self._m2: NDArray[np.float64] = np.empty(0)

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Features whose spread is rounding only: σ ≤ 8·ε·|m|."""
        flat: NDArray[np.bool_] = self._deviation() <= 8 * np.finfo(np.float64).eps * np.abs(self.mean)
        return flat

    @property
    def scale(self) -> NDArray[np.float64]:
        """What features are divided by."""
        return np.where(self.constant, 1.0, self._deviation())

    def update(self, X: ArrayLike) -> Standardiser:
        """Add samples X (N, d) to the statistics; returns itself.

        Raises:
            ArgumentError: X is empty, not two-dimensional, or has another width than before.
            NonFiniteError: X holds NaN or infinity, or numbers whose squares overflow.
        """
        data = self._check(X)
        mean = data.mean(axis=0)
        with np.errstate(over="ignore", invalid="ignore"):
            m2 = np.square(data - mean).sum(axis=0)
        if not (np.isfinite(mean).all() and np.isfinite(m2).all()):
            raise NonFiniteError("`X` holds NaN, infinity or numbers too large to standardise")
        if self.n == 0:
            self.n, self.mean, self._m2 = len(data), mean, m2
            return self
        total = self.n + len(data)
        delta = mean - self.mean
        # Chan: M2 = M2a + M2b + δ²·na·nb/n
        self._m2 = self._m2 + m2 + delta**2 * (self.n * len(data) / total)
        self.mean = self.mean + delta * (len(data) / total)
        self.n = total
        return self

    def transform(self, X: ArrayLike, dtype: Any = np.float32) -> NDArray[Any]:
        """(X − mean)/scale as a new array (N, d) of `dtype`; computed in float64."""
        if self.n == 0:
            raise ArgumentError("the standardiser has seen no data yet; call `update` first")
        return np.ascontiguousarray((self._check(X) - self.mean) / self.scale, dtype=dtype)

    def inverse(self, Z: ArrayLike) -> NDArray[np.float64]:
        """Features in their own units again: mean + scale·Z."""
        return np.asarray(self._check(Z) * self.scale + self.mean, dtype=np.float64)

    def _deviation(self) -> NDArray[np.float64]:
        return np.asarray(np.sqrt(self._m2 / max(self.n, 1)), dtype=np.float64)

    def _check(self, X: ArrayLike) -> NDArray[np.float64]:
        data = np.asarray(X)
        if data.ndim != 2 or data.shape[0] == 0 or data.dtype.kind not in "fiub":
            raise ArgumentError(f"`X` must be numbers of shape (N, d), N ≥ 1, got {data.dtype} {data.shape}")
        if self.n and data.shape[1] != len(self.mean):
            raise ArgumentError(f"`X` must have {len(self.mean)} features, got {data.shape[1]}")
        return np.asarray(data, dtype=np.float64)
