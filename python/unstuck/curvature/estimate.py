"""What a randomised estimate returns, its t-interval, and the part of an operator that is not left to chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..real_array import real_array
from .measure import Share
from .products import DEFAULT_MEMORY, Products, signs

Array = NDArray[Any]

COLUMNS = 32  # rows per block product


@dataclass(frozen=True)
class Estimate:
    """A number with an interval.

    Attributes:
        value: the estimate.
        interval: (lower, upper), which holds the truth with probability `confidence`.
        products: matrix-vector products used.
        exact: whether nothing was left to chance (the interval is then that of rounding).
        confidence: of the interval.
    """

    value: float
    interval: Share
    products: int
    exact: bool
    confidence: float

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        half = 0.5 * (self.interval.upper - self.interval.lower)
        sure = "exact" if self.exact else f"{100 * self.confidence:g} %"
        return f"{self.value:.6g} ± {half:.2g} ({sure}, {self.products} products)"


class Deflation(NamedTuple):
    """An orthonormal basis (rows, q × n) of the part of H that is treated exactly, and its images H·row."""

    rows: Array
    images: Array

    def without(self, rows: Array) -> Array:
        """The part of every row that is orthogonal to the basis: P·row, P = I − Σ qqᵀ."""
        if not len(self.rows):
            return rows
        return np.asarray(rows - (rows @ self.rows.T) @ self.rows, dtype=rows.dtype)

    def small(self) -> Array:
        """QᵀHQ, (q, q), float64."""
        product = np.asarray(self.rows @ self.images.T, dtype=np.float64)
        return 0.5 * (product + product.T)


def t_quantile(confidence: float, degrees: int) -> float:
    """Student's t: |t| stays below this with probability `confidence`."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 * (1.0 + confidence)))


def t_interval(samples: Array, confidence: float) -> tuple[float, float]:
    """(mean, half the width of its t-interval)."""
    count = len(samples)
    scale = float(np.abs(samples).max(initial=0.0)) or 1.0  # squares of what is tiny would vanish
    spread = scale * float(np.std(samples / scale, ddof=1)) if count > 1 else math.inf
    return float(np.mean(samples)), t_quantile(confidence, max(count - 1, 1)) * spread / math.sqrt(count)


def unit_blocks(n: int, dtype: Any) -> Any:
    """(begin, rows of the identity) in blocks."""
    for begin in range(0, n, COLUMNS):
        end = min(begin + COLUMNS, n)
        block = np.zeros((end - begin, n), dtype=dtype)
        block[np.arange(end - begin), np.arange(begin, end)] = 1.0
        yield begin, block


def deflation(products: Products, sketch: int, known: Array, memory_budget: int | None, seed: int) -> Deflation:
    """Known eigenvectors, and the range of H on `sketch` random signs: what a trace owes to its largest parts.

    Takes as many as the memory holds. Source: R. A. Meyer, C. Musco, C. Musco, D. P. Woodruff (2021), Hutch++,
    arXiv 2010.09649.
    """
    n, dtype = products.n, products.dtype
    rng = np.random.default_rng([seed, 1])
    room = (DEFAULT_MEMORY if memory_budget is None else memory_budget) // (6 * n * dtype.itemsize) - len(known)
    count = int(min(sketch, max(room, 0), n - len(known)))
    probes = signs(rng, max(count, 1), n, dtype)
    images = products.first(probes, rng)[:count]
    largest = float(np.abs(images).max(initial=0.0))
    if largest > 0.0:
        images = images / dtype.type(largest)
    together = np.concatenate([known, images]) if largest > 0.0 else known
    if not len(together):
        return Deflation(np.empty((0, n), dtype), np.empty((0, n), dtype))
    rows = np.ascontiguousarray(np.linalg.qr(together.T)[0].T.astype(dtype))
    return Deflation(rows, products.rows(rows))


def known_rows(pairs: Any, n: int, dtype: np.dtype[Any]) -> Array:
    """Rows of known eigenvectors: an Eigenpairs, or an array (n, k)."""
    if pairs is None:
        return np.empty((0, n), dtype)
    vectors = real_array(getattr(pairs, "vectors", pairs), "pairs")
    if vectors.ndim != 2 or vectors.shape[0] != n or vectors.shape[1] > n or not np.isfinite(vectors).all():
        raise ArgumentError(f"`pairs` must be Eigenpairs or finite vectors of shape ({n}, k), got {vectors.shape}")
    return np.ascontiguousarray(vectors.T.astype(dtype))
