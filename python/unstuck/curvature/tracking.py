"""A small subspace that follows an end of a spectrum while the operator changes: two products per look."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Look(NamedTuple):
    """What a look at the operator found.

    Attributes:
        value: a Rayleigh quotient: never beyond the end of the spectrum, up to rounding.
        residual: ‖Hu − value·u‖: an eigenvalue lies within it of `value`.
    """

    value: float
    residual: float


class FollowedEnd:
    """The unit vector u that follows the largest (sign = 1) or the smallest (sign = −1) eigenvalue of a changing H.

    Each round multiplies [u, r, …] with the present H, takes the best of their span (Rayleigh–Ritz), and keeps for the
    next round its residual r, the direction in which the quotient rises fastest, and, of three vectors, the move that
    the last round made (LOBPCG: A. V. Knyazev (2001), SIAM J. Sci. Comput. 23, 517–541).

    Args:
        sign: 1 or −1.
        size: vectors per round, 2 or 3.

    Attributes:
        rows: (k, n) orthonormal, float64; the vectors to multiply next.
    """

    def __init__(self, sign: float, size: int) -> None:
        self.sign, self.size = sign, size
        self.rows: Array = np.empty((0, 0))

    def begin(self, u: Array, image: Array) -> Look:
        """From a vector and its product, (n,) each."""
        self.rows = _unit(u)[None]
        return self.absorb((image / math.sqrt(_dot(u, u)))[None])

    def absorb(self, images: Array) -> Look:
        """Takes H·rows, (k, n) like `rows`, and moves on."""
        rows, images = self.rows, images.astype(np.float64, copy=False)
        small = np.array([[_dot(row, image) for image in images] for row in rows])
        values, turns = np.linalg.eigh(0.5 * (small + small.T))
        place = len(values) - 1 if self.sign > 0 else 0
        best, value = turns[:, place], float(values[place])
        u = _combined(best, rows)
        residual = _combined(best, images)
        residual -= value * u
        size = math.sqrt(_dot(residual, residual))
        kept = [_unit(u)]
        if size > 0.0:
            residual /= size
            residual -= _dot(residual, kept[0]) * kept[0]  # orthogonal already, but for rounding
            kept.append(_unit(residual))
        if self.size > 2 and len(rows) > 1 and len(kept) > 1:
            moved = _combined(best[1:], rows[1:])  # what this round added to the old u
            start = math.sqrt(_dot(moved, moved))
            for row in kept * 2:
                moved -= _dot(moved, row) * row
            if math.sqrt(_dot(moved, moved)) > 1e-6 * start > 0.0:
                kept.append(_unit(moved))
        self.rows = np.stack(kept)
        return Look(value, size)


# sums without BLAS: its threads cost more than vectors of this length
def _dot(a: Array, b: Array) -> float:
    return float(np.einsum("i,i->", a, b))


def _combined(weights: Array, rows: Array) -> Array:
    total = weights[0] * rows[0]
    for weight, row in zip(weights[1:], rows[1:], strict=True):
        total += weight * row
    return np.asarray(total)


def _unit(vector: Array) -> Array:
    wide = vector.astype(np.float64, copy=False)
    return np.asarray(wide / math.sqrt(_dot(wide, wide)))
