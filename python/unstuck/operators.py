"""The Hessian as an operator: a SciPy LinearOperator that counts its products and states how exact they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator

from .errors import ArgumentError
from .real_array import plain, real_array

Array = NDArray[Any]


class HessianOperator(LinearOperator):  # type: ignore[misc]  # scipy ships no types
    """Symmetric operator v ↦ H·v at one fixed point and batch.

    Args:
        n: number of parameters; the operator has shape (n, n).
        dtype: float32 or float64, the type of the products.
        product: maps a contiguous vector (n,) of `dtype` to H·v, a new array (n,).
        block: maps a contiguous block (k, n), one vector per row, to (k, n); None repeats `product`.
        exact: True when products are exact up to rounding, False for difference quotients.
        noise: absolute error of vᵀHv for a unit vector v that is known beforehand, in units of H; 0 if only rounding.
        plan: how the memory budget is spent, for reports.

    Attributes:
        products: how many matrix-vector products have been asked for so far.
    """

    def __init__(
        self,
        n: int,
        dtype: Any,
        product: Callable[[Array], Array],
        block: Callable[[Array], Array] | None = None,
        *,
        exact: bool = True,
        noise: float = 0.0,
        plan: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(np.dtype(dtype), (n, n))
        self._product = product
        self._block = block
        self.exact = exact
        self.noise = noise
        self.plan = plan or {}
        self.products = 0

    def _matvec(self, v: Array) -> Array:
        vector = plain(real_array(v, "v").reshape(-1), self.dtype)
        self.products += 1
        return self._product(vector)

    def _matmat(self, block: Array) -> Array:
        rows = plain(real_array(block, "v").T, self.dtype)
        if self._block is None:
            return np.stack([self._matvec(row) for row in rows], axis=1)
        self.products += rows.shape[0]
        return self._block(rows).T

    def dot(self, x: Any) -> Any:
        """H·x for a vector, a block, a number or another operator."""
        return super().dot(real_array(x, "v") if isinstance(x, np.ma.MaskedArray) else x)

    def _rmatvec(self, v: Array) -> Array:
        return self._matvec(v)

    def _rmatmat(self, block: Array) -> Array:
        return self._matmat(block)

    def _adjoint(self) -> HessianOperator:
        return self

    def _transpose(self) -> HessianOperator:
        return self


def as_operator(op: Any) -> HessianOperator:
    """Any symmetric operator as a HessianOperator: one of ours, a SciPy LinearOperator, a NumPy matrix, or a function.

    Args:
        op: a function v ↦ H·v of a vector (n,) needs an attribute `n` or `shape`, and may have a `dtype` (float64
            otherwise).

    Raises:
        ArgumentError: `op` is not square or has no real float type.
    """
    if isinstance(op, HessianOperator):
        return op
    shape = getattr(op, "shape", None)
    call = callable(op) and not hasattr(op, "__matmul__")
    if shape is None and call and hasattr(op, "n"):
        shape = (op.n, op.n)
    if shape is None and call:
        raise ArgumentError(
            "`op` is a function that does not say its size: give it an attribute `n`, or pass "
            "scipy.sparse.linalg.LinearOperator((n, n), matvec=op, dtype=float)"
        )
    if shape is None or len(shape) != 2 or shape[0] != shape[1]:
        raise ArgumentError(
            "`op` must be a square operator (n, n): a LinearOperator or a matrix, "
            f"got {type(op).__name__ if shape is None else shape}"
        )
    dtype = np.dtype(np.float32) if getattr(op, "dtype", None) == np.float32 else np.dtype(np.float64)
    if getattr(op, "dtype", None) is not None and np.dtype(op.dtype).kind == "c":
        raise ArgumentError("`op` must be real symmetric, got a complex operator; complex ones are not supported")

    def product(v: Array) -> Array:
        return np.asarray(op(v) if call else op @ v, dtype=dtype).reshape(-1)

    def block(rows: Array) -> Array:
        return np.ascontiguousarray(np.asarray(op @ rows.T, dtype=dtype).T)

    return HessianOperator(int(shape[0]), dtype, product, None if call else block)
