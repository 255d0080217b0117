"""Following the ends of a spectrum while the operator changes: one to three products per end and look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import NonFiniteError
from ..landscape import Landscape
from ..operators import HessianOperator

Array = NDArray[Any]

NOT_FINITE = "products of the Hessian hold NaN or infinity; the point, the data or the loss is not finite"


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
        scale: (n,) of the operator's dtype: the operator is diag(scale)·H·diag(scale); None: H.
        rows: (k, n) orthonormal, of the operator's dtype; the vectors to multiply next.
    """

    def __init__(self, sign: float, size: int) -> None:
        self.sign, self.size, self.shift = sign, size, 0.0
        self.scale: Array | None = None
        self.rows: Array = np.empty((0, 0))

    def begin(self, u: Array, image: Array) -> Look:
        """From a unit vector and its product, (n,) each, of one dtype."""
        self.rows = np.ascontiguousarray(u)[None]
        return self.absorb(np.ascontiguousarray(image)[None])

    def absorb(self, images: Array) -> Look:
        """Takes the products of `rows`, (k, n), and moves on."""
        return self._take(*_core.follow(self.rows, images, self.sign, self.shift, self.size))

    def asks(self) -> tuple[Array, float, float, int, Array | None]:
        """What the core needs to follow this end."""
        return self.rows, self.sign, self.shift, self.size, self.scale

    def _take(self, value: float, residual: float, rows: Array, count: int) -> Look:
        self.rows = rows[:count]
        return Look(value, residual)


def follow(
    land: Landscape, theta: Array, batch: Array | None, ends: Sequence[FollowedEnd], accuracy: float, most: int
) -> tuple[list[Look], int]:
    """Rounds of one block product for all ends together, at θ.

    Args:
        land: any landscape.
        theta: (n,).
        batch: indices of samples; None: all.
        ends: that have been begun; they move on.
        accuracy: residual over |value| above which there is another round,
        most: as long as there are at most so many products.

    Returns:
        (what the last round found, products).

    Raises:
        NonFiniteError: a product holds NaN or infinity; the ends are then as before.
    """
    in_core = getattr(land, "follow_hessian", None)
    if in_core is not None:
        products, found = in_core(theta, batch, [end.asks() for end in ends], accuracy, most)
        if not all(math.isfinite(value) for value, *_ in found):
            raise NonFiniteError(NOT_FINITE)
        return [end._take(*result) for end, result in zip(ends, found, strict=True)], products
    op = land.hessian(theta, batch)
    while True:
        looks = _round(op, ends)
        done = int(op.products)
        rough = any(look.residual > accuracy * abs(look.value) for look in looks)
        if not rough or done + sum(len(end.rows) for end in ends) > most:
            return looks, done


def _round(op: HessianOperator, ends: Sequence[FollowedEnd]) -> list[Look]:
    blocks = [end.rows if end.scale is None else end.rows * end.scale for end in ends]
    images = products(op, np.concatenate(blocks) if len(blocks) > 1 else blocks[0])
    looks, begin = [], 0
    for end in ends:
        part = images[begin : begin + len(end.rows)]
        begin += len(end.rows)
        looks.append(end.absorb(np.ascontiguousarray(part if end.scale is None else part * end.scale)))
    return looks


def products(op: HessianOperator, rows: Array) -> Array:
    """H·row for every row, (k, n).

    Raises:
        NonFiniteError: one holds NaN or infinity.
    """
    images = np.ascontiguousarray(np.asarray(op.matmat(rows.T)).T, dtype=op.dtype)
    if not math.isfinite(float(images.sum())) and not np.isfinite(images).all():
        raise NonFiniteError(NOT_FINITE)
    return images
