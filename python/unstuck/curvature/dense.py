"""A small operator as a matrix: built from block products, symmetrised, and reduced to tridiagonal form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from ..errors import ArgumentError, BudgetError, NonFiniteError, OperatorError
from ..operators import as_operator

Array = NDArray[Any]

ALWAYS_DENSE = 512  # parameters up to which a matrix costs less than a Krylov run and says more
EXACT_LIMIT = 3000  # parameters up to which the cubic cost stays within seconds
COLUMNS = 64  # vectors per block product


class DenseOperator(NamedTuple):
    """A symmetric operator as a matrix.

    Attributes:
        matrix: ½(H + Hᵀ), (n, n), float64.
        asymmetry: ½‖H − Hᵀ‖_F, in units of H: how far the products are from symmetric.
    """

    matrix: Array
    asymmetry: float


def dense_matrix(
    op: Any, memory_budget: int | None = None, progress: Callable[[int, int], None] | None = None
) -> DenseOperator:
    """All n products of a symmetric operator as a matrix.

    Args:
        op: HessianOperator, SciPy LinearOperator or matrix (n, n), n ≤ 3000.
        memory_budget: bytes that matrix and work space may take; None: no limit.
        progress: called as progress(products of the operator so far, n) after every block.

    Raises:
        ArgumentError: n is 0 or above 3000.
        BudgetError: 3·8·n² bytes exceed `memory_budget`.
        OperatorError: a block product has a wrong shape.
        NonFiniteError: a product holds NaN or infinity.
    """
    operator = as_operator(op)
    n = operator.shape[0]
    if not 1 <= n <= EXACT_LIMIT:
        raise ArgumentError(f"`op` must have 1 to {EXACT_LIMIT} rows to be made a matrix, got {n}; use Lanczos instead")
    needed = 3 * 8 * n * n
    if memory_budget is not None and needed > memory_budget:
        raise BudgetError(
            f"the dense matrix of {n} parameters needs {needed:,} bytes, `memory_budget` is {memory_budget:,}"
        )
    matrix = np.empty((n, n))
    for begin in range(0, n, COLUMNS):
        end = min(begin + COLUMNS, n)
        unit = np.zeros((n, end - begin), dtype=operator.dtype)
        unit[np.arange(begin, end), np.arange(end - begin)] = 1.0
        columns = np.asarray(operator @ unit)
        if columns.shape != unit.shape:
            raise OperatorError(f"a block product of `op` must have shape {unit.shape}, got {columns.shape}")
        matrix[:, begin:end] = columns
        if progress is not None:
            progress(operator.products, n)
    if not np.isfinite(matrix).all():
        raise NonFiniteError("products of `op` hold NaN or infinity; the point, the data or the loss is not finite")
    # halves first: H + Hᵀ may overflow where H does not
    matrix *= 0.5
    asymmetry = _frobenius(matrix - matrix.T)
    return DenseOperator(matrix + matrix.T, asymmetry)


def tridiagonal_form(matrix: Array) -> tuple[Array, Array]:
    """Diagonal (n,) and off-diagonal (n − 1,) of an orthogonally similar tridiagonal matrix (LAPACK dsytrd).

    Its eigenvalues differ from those of `matrix` by rounding, at most about n·2⁻⁵³·‖matrix‖.
    """
    n = len(matrix)
    if n == 1:
        return matrix[0].copy(), np.empty(0)
    scale = math.ldexp(1.0, math.frexp(float(np.abs(matrix).max()))[1])
    work = int(lapack.dsytrd_lwork(n, lower=1)[0])
    _, diagonal, offdiagonal, _, info = lapack.dsytrd(matrix / scale, lower=1, lwork=work)
    if info != 0:
        raise OperatorError(f"the tridiagonal reduction failed (LAPACK dsytrd, info {info})")
    return diagonal * scale, offdiagonal * scale


def _frobenius(matrix: Array) -> float:
    largest = float(np.abs(matrix).max())
    return largest * float(np.linalg.norm(matrix / largest)) if largest > 0 else 0.0
