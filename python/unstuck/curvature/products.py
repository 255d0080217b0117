"""Block products of an operator that is held to its promises: shapes, finiteness, determinism, symmetry."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, BudgetError, NonDeterministicError, NonFiniteError, OperatorError
from ..operators import HessianOperator, as_operator

Array = NDArray[Any]

DEFAULT_MEMORY = 2**30  # bytes
LARGEST_PRODUCT = 1e150  # in norm
SMALLEST_NORM = 1e-140  # of an operator that is not zero
LARGEST_ASYMMETRY = 1e-3  # relative to ‖Hv‖: beyond rounding and difference quotients


class Products:
    """Products of `op` with the rows of blocks, checked and counted from here on.

    Args:
        op: HessianOperator, SciPy LinearOperator or matrix (n, n), symmetric.

    Attributes:
        op: as a HessianOperator.
        n: its number of rows.
        dtype: of the products.
        norm: largest ‖Hv‖/‖v‖ met, at most ‖H‖.
    """

    def __init__(self, op: Any) -> None:
        self.op = as_operator(op)
        self.n: int = self.op.shape[0]
        if self.n < 1:
            raise ArgumentError("`op` must have at least one row, got shape (0, 0)")
        self.dtype: np.dtype[Any] = self.op.dtype
        self.norm = 0.0
        self._before = self.op.products

    @property
    def done(self) -> int:
        """Matrix-vector products so far."""
        return int(self.op.products - self._before)

    @property
    def noise(self) -> float:
        """Absolute error of vᵀHv for a unit vector, in units of H, as far as it is known: stated, or rounding."""
        smallest = 4.0 * float(np.finfo(self.dtype).smallest_subnormal)
        return max(float(self.op.noise), float(np.finfo(self.dtype).eps) * self.norm, smallest)

    def rows(self, rows: Array) -> Array:
        """H·v for every row v of a block (k, n), as the rows of a new block (k, n).

        Raises:
            OperatorError: the block product has a wrong shape or is complex.
            NonFiniteError: it holds NaN or infinity.
        """
        block = np.ascontiguousarray(rows, dtype=self.dtype)
        images = np.asarray(self.op.matmat(block.T))  # also for one row, which `@` takes for a vector
        if images.shape != (self.n, len(block)) or images.dtype.kind not in "fiu":
            raise OperatorError(
                f"a block product of `op` must be real, of shape {(self.n, len(block))}, got {images.dtype} of shape "
                f"{images.shape}"
            )
        images = np.ascontiguousarray(images.T, dtype=self.dtype)
        sizes = lengths(images)
        if not (np.isfinite(sizes).all() and np.isfinite(images).all()):
            raise NonFiniteError(
                f"products of `op` hold NaN or infinity in {int((~np.isfinite(images)).sum())} of {images.size} "
                "entries; the point, the data or the loss is not finite, or the type overflows"
            )
        if float(sizes.max(initial=0.0)) > LARGEST_PRODUCT:
            raise NonFiniteError(
                f"products of `op` are as large as {float(sizes.max()):.3g}, so that their squares overflow: scale the "
                "operator down"
            )
        of_rows = lengths(block)
        self.norm = max(self.norm, float(np.divide(sizes, of_rows, out=np.zeros_like(sizes), where=of_rows > 0).max()))
        return images

    def first(self, rows: Array, rng: np.random.Generator) -> Array:
        """As `rows`, for the first block: one product is repeated, and Gaussian rows are tested for symmetry.

        For independent Gaussian x and y, xᵀHy − yᵀHx of an operator with antisymmetric part K has the size ‖K‖_F, as
        xᵀHy has the size ‖H‖_F: no share of it is hidden by the dimension. A single row gets a second one beside it.

        Raises:
            NonDeterministicError: the repeated product differs by more than rounding.
            OperatorError: the operator is not symmetric, or as `rows`.
            NonFiniteError: as `rows`.
        """
        images = self.rows(rows)
        self._same_twice(rows[:1], images[0])
        if len(rows) > 1:
            self._symmetric(rows, images)
        elif self.n > 1:
            other = gaussian(rng, 1, self.n, self.dtype)
            self._symmetric(np.concatenate([rows, other]), np.concatenate([images, self.rows(other)]))
        return images

    def require_squares(self) -> None:
        """For work with squares of products, once there are some.

        Raises:
            NonFiniteError: the squares vanish.
        """
        if 0.0 < self.norm < SMALLEST_NORM:
            raise NonFiniteError(
                f"products of `op` are as small as {self.norm:.3g}, so that their squares underflow: scale the "
                "operator up"
            )

    def _same_twice(self, row: Array, image: Array) -> None:
        change = float(lengths(self.rows(row) - image)[0])
        size = float(lengths(image[None])[0])
        allowed = float(np.sqrt(np.finfo(self.dtype).eps)) * size + 10.0 * self.op.noise * float(lengths(row)[0])
        if change > allowed:
            raise NonDeterministicError(_different(change, size))

    def _symmetric(self, rows: Array, images: Array) -> None:
        wide = rows.astype(np.float64)
        small = wide @ images.astype(np.float64).T
        gap = float(np.abs(small - small.T).max())
        size = float(lengths(images).max()) * float(lengths(rows).max()) / np.sqrt(self.n)
        share = LARGEST_ASYMMETRY if self.op.exact else 0.5
        rounding = 20.0 * self.noise * float((lengths(rows) ** 2).max())
        if gap > share * size + rounding:
            raise OperatorError(
                f"`op` is not symmetric: xᵀHy and yᵀHx differ by {gap:.3g} where ‖x‖·‖Hy‖/√n = {size:.3g}; a Hessian "
                "is symmetric, so check the product (`hvp`)"
            )


def check_entries(op: HessianOperator, largest: float, asymmetry: float) -> None:
    """Holds ½‖H − Hᵀ‖_F against the largest entry of H, once all columns are known.

    Raises:
        OperatorError: the operator is not symmetric.
    """
    n = int(op.shape[0])
    size = largest * np.sqrt(n)
    if asymmetry > LARGEST_ASYMMETRY * size + 10.0 * op.noise * n:
        raise OperatorError(f"`op` is not symmetric: ½‖H − Hᵀ‖ = {asymmetry:.3g} at entries up to {size:.3g}/√n")


def refuse_asymmetric(op: HessianOperator, message: str) -> NoReturn:
    """Refuses an operator whose products contradict symmetry: that may be noise in them, which one more pair shows.

    Raises:
        NonDeterministicError: the same product comes out different twice.
        OperatorError: it does not, with `message`.
    """
    v = gaussian(np.random.default_rng(0), 1, int(op.shape[0]), op.dtype)[0]
    once, again = (np.asarray(op @ v, dtype=np.float64) for _ in range(2))
    change, size = float(np.linalg.norm(once - again)), float(np.linalg.norm(once))
    if change > float(np.sqrt(np.finfo(op.dtype).eps)) * size:
        raise NonDeterministicError(_different(change, size))
    raise OperatorError(message)


def _different(change: float, size: float) -> str:
    return (
        f"the same product of `op` came out different twice (by {change:.3g}, its norm is {size:.3g}): switch off "
        "dropout, augmentation and shuffling, so that there is one operator to look at"
    )


def gaussian(rng: np.random.Generator, count: int, n: int, dtype: Any) -> Array:
    """`count` Gaussian rows of length n."""
    if np.dtype(dtype) == np.float32:
        return rng.standard_normal((count, n), dtype=np.float32)
    return rng.standard_normal((count, n))


def signs(rng: np.random.Generator, count: int, n: int, dtype: Any) -> Array:
    """`count` Rademacher rows of length n: ±1."""
    return (2.0 * rng.integers(0, 2, (count, n), dtype=np.int8) - 1.0).astype(dtype)


def lengths(rows: Array) -> Array:
    """‖row‖ in float64, row by row: a block in float64 would double its memory."""
    return np.array([_length(row) for row in rows], dtype=np.float64)


def _length(row: Array) -> float:
    square = float(np.einsum("i,i->", row, row, dtype=np.float64))
    if 1e-280 < square < np.inf:
        return float(np.sqrt(square))
    largest = float(np.abs(row).max(initial=0.0))  # squares leave the range of float64
    if largest == 0.0 or not np.isfinite(largest):
        return largest
    return largest * float(np.linalg.norm(row.astype(np.float64) / largest))


def require_memory(needed: int, budget: int | None, what: str) -> None:
    """Refuses work that does not fit.

    Raises:
        ArgumentError: `budget` is not a positive number of bytes.
        BudgetError: `needed` exceeds it.
    """
    counted = isinstance(budget, (int, np.integer)) and not isinstance(budget, bool)
    if budget is not None and not (counted and budget > 0):
        raise ArgumentError(f"`memory_budget` must be a positive number of bytes or None, got {budget!r}")
    limit = DEFAULT_MEMORY if budget is None else int(budget)
    if needed > limit:
        raise BudgetError(f"{what} needs {needed:,} bytes, `memory_budget` is {limit:,}")
