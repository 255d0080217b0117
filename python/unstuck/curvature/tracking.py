"""A small subspace that follows an end of a spectrum while the operator changes: two products per look."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core

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
        size: vectors per round: 3; 2 without the move; 1, a step of power iteration.

    Attributes:
        shift: at least as large as the far end of the spectrum, if that has the other sign; for size 1.
        rows: (k, n) orthonormal, of the operator's dtype; the vectors to multiply next.
    """

    def __init__(self, sign: float, size: int) -> None:
        self.sign, self.size, self.shift = sign, size, 0.0
        self.rows: Array = np.empty((0, 0))

    def begin(self, u: Array, image: Array) -> Look:
        """From a unit vector and its product, (n,) each, of one dtype."""
        self.rows = np.ascontiguousarray(u)[None]
        return self.absorb(np.ascontiguousarray(image)[None])

    def absorb(self, images: Array) -> Look:
        """Takes H·rows, (k, n) like `rows`, and moves on."""
        value, residual, rows, count = _core.follow(self.rows, images, self.sign, max(self.size, 2))
        if self.size == 1 and count > 1:
            # (H + σI)u = (θ + σ)u + r: σ keeps the other end of the spectrum from being larger
            step = rows.dtype.type(value + self.sign * self.shift) * rows[0]
            step += rows.dtype.type(residual) * rows[1]
            size = float(np.sqrt(np.einsum("i,i->", step, step)))
            self.rows = step[None] / rows.dtype.type(size) if size > 0.0 else rows[:1]
        else:
            self.rows = rows[:count]
        return Look(value, residual)
