"""Standardiser: brings features to mean 0 and deviation 1 with the statistics of the training part."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ArgumentError, ArgumentTypeError, NonFiniteError
from .ranges import Choice
from .real_array import real_array

Array = NDArray[np.float64]

_MISSING = Choice("refuse", "mean")
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


class Standardiser:
    """x̃ = (x − m)/σ per feature, m and σ over everything given to `update`.

    Give it the training part only: statistics of other data would leak into the training. They are float64, from two
    passes within a batch and Chan's formula between batches, so that neither large offsets nor tiny or huge units nor
    the number of batches cost digits. A constant feature has σ = 1 and becomes 0.

    Args:
        missing: what a NaN means. "refuse": an error that names its place. "mean": no value; the statistics leave it
            out, and it becomes 0, the mean of the training part. A feature without any value counts as constant 0.
            A masked entry of a masked array is treated as NaN. Infinity is always refused.

    Attributes:
        n: samples seen.
        counts: (d,) int64, values seen of every feature; all n unless some were missing.
        mean: (d,) float64.
        scale: (d,) float64, the population standard deviation, 1 for a constant feature.
        constant: (d,) bool.

    Source: T. F. Chan, G. H. Golub, R. J. LeVeque (1979), Updating formulae and a pairwise algorithm.
    """

    def __init__(self, missing: Literal["refuse", "mean"] = "refuse") -> None:
        _MISSING.check("missing", missing)
        self.missing = missing
        self.n = 0
        self.counts: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.mean: Array = np.empty(0)
        self._deviation: Array = np.empty(0)
        self._low: Array = np.empty(0)
        self._high: Array = np.empty(0)

    def __repr__(self) -> str:
        return f"Standardiser(missing={self.missing!r}): {self.n} samples of {len(self.mean)} features"

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Features of one value only, or whose spread is rounding only: σ ≤ 8·ε·|m|."""
        rounding = self._deviation <= 8 * np.finfo(np.float64).eps * np.abs(self.mean)
        flat: NDArray[np.bool_] = rounding | (self._low >= self._high)
        return flat

    @property
    def scale(self) -> Array:
        """What features are divided by."""
        return np.where(self.constant, 1.0, self._deviation)

    def update(self, X: ArrayLike) -> Standardiser:
        """Add samples X (N, d) to the statistics; returns itself.

        Raises:
            ArgumentError: X is empty, not two-dimensional, or has another width than before.
            ArgumentTypeError: X holds no real numbers.
            NonFiniteError: X holds infinity, a missing value that is refused, or numbers too far apart for float64.
                Nothing has changed then.
        """
        data, absent = self._check(X)
        counts, mean, deviation = _moments(data, absent)
        low = np.where(absent, np.inf, data).min(axis=0)
        high = np.where(absent, -np.inf, data).max(axis=0)
        if self.n:
            low, high = np.minimum(low, self._low), np.maximum(high, self._high)
            counts, mean, deviation = _merged((self.counts, self.mean, self._deviation), (counts, mean, deviation))
        mean = np.where(low == high, low, mean)  # exactly, so that a constant feature becomes exactly 0
        bad = ~(np.isfinite(mean) & np.isfinite(deviation))
        if bad.any():
            raise NonFiniteError(f"`X`: the numbers of feature {int(np.argmax(bad))} are too far apart for float64")
        self.n += len(data)
        self.counts, self.mean, self._deviation, self._low, self._high = counts, mean, deviation, low, high
        return self

    def transform(self, X: ArrayLike, dtype: Any = np.float32) -> NDArray[Any]:
        """(X − mean)/scale as a new array (N, d); computed in float64.

        Args:
            X: samples (N, d), which stay as they are.
            dtype: float32 or float64.

        Raises:
            ArgumentError: nothing has been seen yet, or X does not fit.
            ArgumentTypeError: X holds no real numbers, or `dtype` is another.
            NonFiniteError: as `update`, or a result beyond the range of `dtype`.
        """
        self._require_data()
        kind = _float_dtype(dtype)
        data, absent = self._check(X)
        mean, scale = self.mean, self.scale
        with np.errstate(over="ignore", invalid="ignore"):
            half = 0.5 * data - 0.5 * mean  # the difference itself may be beyond float64
            scaled = np.where(np.abs(half) < 1e300, (data - mean) / scale, half / scale * 2.0)
            found: NDArray[Any] = np.ascontiguousarray(np.where(absent, 0.0, scaled), dtype=kind)
        _require_finite(found, f"is too far from the mean for {kind}")
        return found

    def inverse(self, Z: ArrayLike) -> Array:
        """Features in their own units again, float64: mean + scale·Z; errors as `transform`."""
        self._require_data()
        data, absent = self._check(Z, "Z")
        with np.errstate(over="ignore", invalid="ignore"):
            found = np.asarray(np.where(absent, 0.0, data) * self.scale + self.mean, dtype=np.float64)
        _require_finite(found, "is too large for float64", "Z")
        return found

    def _require_data(self) -> None:
        if self.n == 0:
            raise ArgumentError("the standardiser has seen no data yet; call `update` first")

    def _check(self, X: ArrayLike, name: str = "X") -> tuple[Array, NDArray[np.bool_]]:
        """(numbers with 0 for the missing ones, which are missing)."""
        values = X
        if isinstance(X, np.ma.MaskedArray) and self.missing == "mean":
            values = np.where(np.ma.getmaskarray(X), np.nan, real_array(X.data, name))
        array = real_array(values, name)
        if array.ndim != 2 or 0 in array.shape:
            raise ArgumentError(f"`{name}` must have shape (N, d) with N, d ≥ 1, got {array.shape}")
        if self.n and array.shape[1] != len(self.mean):
            raise ArgumentError(f"`{name}` must have {len(self.mean)} features, got {array.shape[1]}")
        with np.errstate(over="ignore"):
            data = np.asarray(array, dtype=np.float64)
        absent = np.isnan(data)
        if self.missing == "refuse":
            _require_finite(data, 'is missing; fill it in, or see Standardiser(missing="mean")', name)
            return data, absent
        filled = np.where(absent, 0.0, data)
        _require_finite(filled, "is infinite", name)
        return filled, absent


def _moments(data: Array, absent: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Array, Array]:
    """Values, mean and population deviation of every feature, free of overflow and underflow of squares."""
    counts = len(data) - absent.sum(axis=0, dtype=np.int64)
    share = 1.0 / np.maximum(counts, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        # sums of numbers below 1: a power of two costs no digits
        exponent = np.frexp(np.abs(data).max(axis=0))[1]
        mean = np.ldexp(np.ldexp(data, -exponent).sum(axis=0) * share, exponent)
        rest = np.where(absent, 0.0, data - mean)
        size = np.abs(rest).max(axis=0)
        unit = np.where(size > 0.0, size, 1.0)
        ratios = rest / unit
        # the second pass: what rounding left of the mean
        off = ratios.sum(axis=0) * share
        variance = np.maximum(np.square(ratios).sum(axis=0) * share - off * off, 0.0)
        return counts, mean + unit * off, unit * np.sqrt(variance)


_Moments = tuple[NDArray[np.int64], Array, Array]


def _merged(a: _Moments, b: _Moments) -> _Moments:
    """Of both parts: σ² = σa²·na/n + σb²·nb/n + δ²·na·nb/n² (Chan), by hypot, which does not overflow."""
    counts = a[0] + b[0]
    total = np.maximum(counts, 1)
    of_a, of_b = a[0] / total, b[0] / total
    with np.errstate(over="ignore", invalid="ignore"):
        delta = b[1] - a[1]
        within = np.hypot(a[2] * np.sqrt(of_a), b[2] * np.sqrt(of_b))
        return counts, a[1] + delta * of_b, np.hypot(within, delta * np.sqrt(of_a * of_b))


def _float_dtype(dtype: Any) -> np.dtype[Any]:
    try:
        kind: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        kind = np.dtype(object)
    if kind not in _DTYPES:
        raise ArgumentTypeError(f"`dtype` must be float32 or float64, got {dtype!r}")
    return kind


def _require_finite(array: NDArray[Any], fault: str, name: str = "X") -> None:
    if not np.isfinite(array).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(array))[0])
        what = fault if np.isnan(array[row, column]) or "missing" not in fault else "is infinite"
        raise NonFiniteError(f"`{name}`: row {row}, feature {column} {what}")
