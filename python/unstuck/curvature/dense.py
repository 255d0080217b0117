"""A small operator as a matrix: built from block products, symmetrised, its spectrum and tridiagonal form."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, BudgetError, NonFiniteError, OperatorError
from ..interrupt import interruptible
from ..operators import as_operator

Array = NDArray[Any]
Result = TypeVar("Result")

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


def matrix_bytes(n: int) -> int:
    """Bytes that a matrix of n rows and the work space of its decomposition take."""
    return 3 * 8 * n * n


def dense_matrix(
    op: Any, memory_budget: int | None = None, progress: Callable[[int, int], object] | None = None
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

    Ctrl-C is answered between products, or within one by operators that look for signals.
    """
    operator = as_operator(op)
    n = operator.shape[0]
    if not 1 <= n <= EXACT_LIMIT:
        raise ArgumentError(f"`op` must have 1 to {EXACT_LIMIT} rows to be made a matrix, got {n}; use Lanczos instead")
    needed = matrix_bytes(n)
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


def eigenvalues_and_vectors(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues, ascending, and eigenvectors (columns) of a symmetric matrix (LAPACK dsyevd).

    Ctrl-C is answered at once for large matrices too; LAPACK then ends in the background (seconds for n = 3000).
    """
    values, vectors = _beside(lambda: np.linalg.eigh(matrix), len(matrix))
    return values, vectors


def some_eigenvectors(matrix: Array, first: int, last: int) -> Array:
    """Eigenvectors number `first` to `last`, in ascending order of the eigenvalues, as columns."""
    from scipy.linalg import eigh

    found = eigh(matrix, subset_by_index=(first, last))[1]
    if found.shape[1] == last - first + 1:
        return np.asarray(found)
    # dsyevr leaves some out where eigenvalues differ by rounding alone, without a word
    return np.asarray(eigh(matrix, driver="ev")[1][:, first : last + 1])


def tridiagonal_form(matrix: Array) -> tuple[Array, Array]:
    """Diagonal (n,) and off-diagonal (n − 1,) of an orthogonally similar tridiagonal matrix (LAPACK dsytrd).

    Its eigenvalues differ from those of `matrix` by rounding, at most about n·2⁻⁵³·‖matrix‖. Ctrl-C as for
    `eigenvalues_and_vectors`.
    """
    n = len(matrix)
    if n == 1:
        return matrix[0].copy(), np.empty(0)
    scale = math.ldexp(1.0, math.frexp(float(np.abs(matrix).max()))[1])
    diagonal, offdiagonal, info = _beside(lambda: _dsytrd(matrix / scale), n)
    if info != 0:
        raise OperatorError(f"the tridiagonal reduction failed (LAPACK dsytrd, info {info})")
    return diagonal * scale, offdiagonal * scale


def _beside(work: Callable[[], Result], n: int) -> Result:
    """In another thread where it takes long enough for someone to lose patience."""
    return interruptible(work) if n > ALWAYS_DENSE else work()


def _dsytrd(matrix: Array) -> tuple[Array, Array, int]:
    """(diagonal, off-diagonal, info); `matrix` is overwritten. Without Python's lock, unlike scipy.linalg.lapack."""
    from scipy.linalg import cython_lapack, lapack

    n = len(matrix)
    size = int(lapack.dsytrd_lwork(n, lower=1)[0])
    capsule = cython_lapack.__pyx_capi__["dsytrd"]
    name, address = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature = name(capsule)
    if not signature.startswith(b"void (char *, int *, "):  # 64-bit integers, say
        _, diagonal, offdiagonal, _, info = lapack.dsytrd(matrix, lower=1, lwork=size)
        return diagonal, offdiagonal, info
    # the matrix is symmetric: rows may pass for columns
    array = np.ascontiguousarray(matrix, dtype=np.float64)
    diagonal, offdiagonal, tau, work = (np.empty(k) for k in (n, n - 1, n - 1, size))
    integers = [ctypes.c_int(value) for value in (n, n, size, 0)]
    order, rows, length, info = (ctypes.byref(value) for value in integers)
    arrays = [ctypes.c_void_p(x.ctypes.data) for x in (array, diagonal, offdiagonal, tau, work)]
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 10)(address(capsule, signature))
    function(b"L", order, arrays[0], rows, *arrays[1:], length, info)
    return diagonal, offdiagonal, integers[3].value


def _frobenius(matrix: Array) -> float:
    largest = float(np.abs(matrix).max())
    return largest * float(np.linalg.norm(matrix / largest)) if largest > 0 else 0.0
