"""Blocks of few long vectors of any float type, multiplied in float64 by row panels: no copy of their length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
PANEL = 1 << 16  # rows
# OpenBLAS's threads spin for some 20 ms after a product, on the cores that the next Hessian product needs. Up to these
# multiply-adds (with a matrix, with one vector) it uses none; from LARGE in all on they are worth it.
ALONE, ALONE_VECTOR, LARGE = 1 << 17, 1 << 13, 1 << 25


def panels(n: int, width: int = 1, columns: int = 0) -> Iterator[slice]:
    """Consecutive row ranges; of products of `width` × `columns` multiply-adds a row, without threads of BLAS."""
    size, work = PANEL, width * columns
    if work > 0 and n * work < LARGE:
        size = max(1, min(PANEL, (ALONE if min(width, columns) > 1 else ALONE_VECTOR) // work))
    for begin in range(0, n, size):
        yield slice(begin, min(begin + size, n))


def wide(block: Array) -> Array:
    """A panel as float64."""
    return np.asarray(block, dtype=np.float64)


def gram(a: Array, b: Array) -> Array:
    """AᵀB, (p, q), of blocks (n, p) and (n, q)."""
    total = np.zeros((a.shape[1], b.shape[1]))
    for rows in panels(len(a), *total.shape):
        total += wide(a[rows]).T @ wide(b[rows])
    return total


def combined(a: Array, weights: Array, dtype: Any = np.float64) -> Array:
    """A·W as a new block (n, q)."""
    result = np.empty((len(a), weights.shape[1]), dtype=dtype, order="F")
    for rows in panels(len(a), *weights.shape):
        result[rows] = wide(a[rows]) @ weights
    return result


def residual_norms(vectors: Array, images: Array, values: Array) -> Array:
    """‖H·xᵢ − λᵢ·xᵢ‖ for columns xᵢ and their images, (k,), without overflow of squares."""
    scale = max((float(np.abs(image).max(initial=0.0)) for image in images.T), default=0.0)
    scale = max(scale, float(np.abs(values).max(initial=0.0)))
    if scale == 0.0:
        return np.zeros(len(values))
    squares = np.zeros(len(values))
    for rows in panels(len(vectors)):
        squares += np.sum(((wide(images[rows]) - wide(vectors[rows]) * values) / scale) ** 2, axis=0)
    residuals: Array = scale * np.sqrt(squares)
    return residuals


def orthonormalised(x: Array, basis: Array) -> Array | None:
    """The unit vector along the part of x (n,) that is orthogonal to an orthonormal block; None if that is rounding.

    x is float64 and is overwritten.
    """
    before = float(np.linalg.norm(x))
    for _ in range(3):
        coefficients = gram(basis, x[:, None])
        for rows in panels(len(x), *coefficients.shape):
            x[rows] -= (wide(basis[rows]) @ coefficients)[:, 0]
        after = float(np.linalg.norm(x))
        if not after > 1e-10 * before:
            return None
        if float(np.linalg.norm(coefficients)) <= 1e-8 * after:
            break
    x /= after
    return x
