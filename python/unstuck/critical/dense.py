"""The whole spectrum: the Hessian column by column, then a symmetric eigensolver in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from ..certificate import dense_certificate
from ..errors import NonFiniteError, OperatorError
from ..landscape import Landscape
from ..operators import HessianOperator
from .ends import Ends, rayleigh
from .probes import asymmetric

Array = NDArray[Any]

LARGEST = 3000
DEFAULT = 512
_COLUMNS = 64  # per block product


def whole_spectrum(
    land: Landscape,
    theta: Array,
    op: HessianOperator,
    noise: float,
    progress: Callable[[int, int], None] | None,
) -> Ends:
    """Every eigenvalue, and the two at the ends verified by a fresh product each: n + 2 products.

    Raises:
        NonFiniteError: a column is not finite.
        OperatorError: the matrix is not symmetric.
    """
    matrix = _columns(op, progress)
    size = float(np.linalg.norm(matrix))
    skew = float(np.linalg.norm(matrix - matrix.T)) / 2
    if skew > (1e-3 if op.exact else 0.5) * size + 10 * op.noise * matrix.shape[0] ** 0.5:
        raise OperatorError(asymmetric(skew, size, op.exact))
    symmetric = (matrix + matrix.T) / 2
    values, vectors = scipy.linalg.eigh(symmetric)
    ends = [rayleigh(land, theta, op, vectors[:, i]) for i in (0, -1)]
    misses = [abs(ends[i].value - values[i]) for i in (0, -1)]
    noise = max(noise, skew, *misses, *(end.noise for end in ends))
    # backward error of the eigensolver: n·u·‖H‖ is generous
    error = 2 * noise + op.shape[0] * float(np.finfo(float).eps) * max(abs(values[0]), abs(values[-1]))
    return Ends(
        lower=float(min(values[0], ends[0].value) - error),
        low=ends[0].value,
        high=ends[1].value,
        upper=float(max(values[-1], ends[1].value) + error),
        low_vector=vectors[:, 0],
        high_vector=vectors[:, -1],
        values=values,
        error=error,
        slack=0.0 if op.exact else noise,
        complete=True,
        noise=noise,
        certify=partial(dense_certificate, *_tridiagonal(symmetric), error, dtype=op.dtype.name),
    )


def _tridiagonal(symmetric: Array) -> tuple[Array, Array]:
    """Diagonal and off-diagonal of an orthogonally similar tridiagonal matrix (Householder, LAPACK's sytrd)."""
    if symmetric.shape[0] < 3:
        return np.diag(symmetric), np.diag(symmetric, 1)
    work, _ = scipy.linalg.lapack.dsytrd_lwork(symmetric.shape[0])
    _, diagonal, offdiagonal, _, info = scipy.linalg.lapack.dsytrd(symmetric, lwork=int(work))
    if info != 0:
        raise OperatorError(f"LAPACK's dsytrd failed with info = {info}")
    return diagonal, offdiagonal


def _columns(op: HessianOperator, progress: Callable[[int, int], None] | None) -> Array:
    n = op.shape[0]
    matrix = np.empty((n, n))
    for start in range(0, n, _COLUMNS):
        stop = min(start + _COLUMNS, n)
        block = np.zeros((n, stop - start), op.dtype)
        block[np.arange(start, stop), np.arange(stop - start)] = 1
        matrix[:, start:stop] = op @ block
        if progress is not None:
            progress(op.products, n + 5)
    if not np.isfinite(matrix).all():
        raise NonFiniteError("a Hessian product at `theta` is not finite (NaN or infinity)")
    return matrix
