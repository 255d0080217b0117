"""The Hessian as an operator: a SciPy LinearOperator that counts its products and states how exact they are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator

from .errors import ArgumentError, OperatorError
from .real_array import plain, real_array

Array = NDArray[Any]

COPIED = 1 << 20  # entries of an argument up to which foreign products get a copy


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
        trusted: `product` and `block` return new arrays of the right shape and leave their argument alone. Otherwise
            they are given copies (above a million entries, held to it), and what they return is looked at and copied
            where they may use it again.

    Attributes:
        products: how many matrix-vector products have been asked for so far.

    Raises, from every product:
        OperatorError: it is not real or has a wrong shape, or a long argument was changed.
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
        trusted: bool = False,
    ) -> None:
        super().__init__(np.dtype(dtype), (n, n))
        self._trusted = trusted
        self._product = product
        self._block = block
        self.exact = exact
        self.noise = noise
        self.plan = plan or {}
        self.products = 0

    def _matvec(self, v: Array) -> Array:
        vector = plain(real_array(v, "v").reshape(-1), self.dtype)
        self.products += 1
        return self._product(vector) if self._trusted else self._guarded(self._product, vector)

    def _matmat(self, block: Array) -> Array:
        rows = plain(real_array(block, "v").T, self.dtype)
        if self._block is None:
            return np.stack([self._matvec(row) for row in rows], axis=1)
        self.products += rows.shape[0]
        return (self._block(rows) if self._trusted else self._guarded(self._block, rows)).T

    def _guarded(self, product: Callable[[Array], Array], argument: Array) -> Array:
        """The product of a foreign function, which may change its argument and return the same memory every time."""
        if argument.size <= COPIED:
            image = product(argument.copy())
        else:
            before = float(argument.sum(dtype=np.float64))
            image = product(argument)
            if float(argument.sum(dtype=np.float64)) != before:
                raise OperatorError("a product of `op` changed its argument: let it work on a copy")
        image = np.asarray(image)
        if image.shape != argument.shape or image.dtype.kind not in "fiu":
            shape = argument.shape[::-1]
            raise OperatorError(
                f"a product of `op` must be real, of shape {shape}, got {image.dtype} of shape {image.shape[::-1]}"
            )
        if image.base is not None or _references(image) > _OWN:
            image = image.copy()
        return image

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


def _references(array: Array) -> int:
    return sys.getrefcount(array)


def _own_references() -> int:
    """What `_references` counts of an array that only the caller's variable holds, in this version of Python."""
    image = np.empty(1)
    return _references(image)


_OWN = _own_references()


def as_operator(op: Any) -> HessianOperator:
    """Any symmetric operator as a HessianOperator: one of ours, a SciPy LinearOperator, a NumPy matrix, or a function.

    Args:
        op: a function v ↦ H·v of a vector (n,) needs an attribute `n` or `shape`, and may have a `dtype` (float64
            otherwise).

    Raises:
        ArgumentError: `op` is not square or has no real float type.
        ArgumentTypeError: a matrix of text or objects.
    """
    if isinstance(op, HessianOperator):
        return op
    if isinstance(op, np.ndarray) and op.dtype.kind != "c":
        op = np.asarray(real_array(op, "op"))
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
        if call:
            return _real(op(v), v.shape, dtype)
        return _real(_times(op, v), v.shape, dtype)

    def block(rows: Array) -> Array:
        if len(rows) == 1:  # SciPy would hand a column (n, 1) to the product of vectors
            return product(rows[0])[None]
        return np.ascontiguousarray(_real(_times(op, rows.T), rows.T.shape, dtype).T)

    single = call or _repeats_single_products(op)
    return HessianOperator(int(shape[0]), dtype, product, None if single else block)


def _times(op: Any, argument: Array) -> Any:
    """The product `op @ argument`; where SciPy finds that the result does not fit, the error says so."""
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused by name
        try:
            return op @ argument
        except ValueError as error:
            place = error.__traceback__
            while place is not None and place.tb_next is not None:
                place = place.tb_next
            module = "" if place is None else str(place.tb_frame.f_globals.get("__name__", ""))
            if isinstance(op, LinearOperator) and module.startswith("scipy.sparse.linalg"):
                raise OperatorError(
                    f"a product of `op` must have shape {argument.shape}, as what it is multiplied with: {error}"
                ) from error
            raise


def _repeats_single_products(op: Any) -> bool:
    """A LinearOperator without block products of its own: SciPy keeps what single ones return, be it the same array."""
    if not isinstance(op, LinearOperator):
        return False
    inherited = type(op)._matmat is LinearOperator._matmat
    return inherited or getattr(op, "_CustomLinearOperator__matmat_impl", op) is None


def _real(image: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A foreign product as an array; a column, or a matrix of one row, is a vector."""
    array = np.asarray(image)
    if len(shape) == 1 and array.ndim == 2 and array.size == shape[0]:
        array = array.reshape(-1)
    if array.dtype.kind not in "fiub" or array.shape != shape:
        raise OperatorError(f"a product of `op` must be real, of shape {shape}, got {array.dtype} of {array.shape}")
    with np.errstate(over="ignore"):
        return array.astype(dtype, copy=False)
