"""The whole spectrum: the Hessian column by column, then a symmetric eigensolver in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..certificate import dense_certificate
from ..curvature.dense import dense_matrix, eigenvalues_and_vectors, tridiagonal_form
from ..curvature.plan import Plan
from ..errors import OperatorError
from ..landscape import Landscape
from ..operators import HessianOperator
from .ends import Ends, product_rounding, rayleigh
from .gate import norm_of
from .probes import asymmetric

Array = NDArray[Any]

LARGEST = 3000
DEFAULT = 512


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
    symmetric, skew = dense_matrix(op, progress=progress)
    size = norm_of(symmetric.ravel())
    if skew > (1e-3 if op.exact else 0.5) * size + 10 * op.noise * symmetric.shape[0] ** 0.5:
        raise OperatorError(asymmetric(skew, size, op.exact))
    values, vectors = eigenvalues_and_vectors(symmetric)
    ends = [rayleigh(land, theta, op, vectors[:, i]) for i in (0, -1)]
    misses = [abs(ends[i].value - values[i]) for i in (0, -1)]
    rounding = product_rounding(op, max(abs(values[0]), abs(values[-1])))
    noise = max(noise, rounding, skew, *misses, *(end.noise for end in ends))
    # backward error of the eigensolver: n·u·‖H‖ is generous
    error = 2 * noise + op.shape[0] * float(np.finfo(float).eps) * max(abs(values[0]), abs(values[-1]))
    return Ends(
        lower=float(min(values[0], ends[0].value) - error),
        low=ends[0].value,
        high=ends[1].value,
        upper=float(max(values[-1], ends[1].value) + error),
        low_vector=vectors[:, 0],
        high_vector=vectors[:, -1],
        low_product=ends[0].product,
        high_product=ends[1].product,
        values=values,
        error=error,
        slack=0.0 if op.exact else noise,
        complete=True,
        noise=noise,
        vectors=vectors,
        plan=Plan("matrix", op.shape[0], "float64", 3 * 8 * op.shape[0] ** 2, None),
        certify=partial(dense_certificate, *tridiagonal_form(symmetric), error, dtype=op.dtype.name),
    )
