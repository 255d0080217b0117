"""Several directions of negative curvature at once: what each adds to a step along the first, by trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .critical.gate import norm_of
from .landscape import Landscape

Array = NDArray[Any]

MOST = 16  # further directions that are tried
_HALVINGS = 3


@dataclass(frozen=True)
class Combined:
    """A displacement that falls further than the one it began with.

    Attributes:
        displacement: (n,), float64.
        theta: the point reached, of the landscape's dtype.
        loss: there.
        directions: how many of those offered are in it.
        trials: evaluations of the loss.
    """

    displacement: Array
    theta: Array
    loss: float
    directions: int
    trials: int


class _Trials:
    """Losses at displacements from one point, counted."""

    def __init__(self, land: Landscape, point: Array) -> None:
        self.land, self.point, self.count = land, point, 0

    def moved(self, displacement: Array) -> Array:
        moved: Array = (self.point + displacement).astype(self.land.dtype)
        return moved

    def __call__(self, displacement: Array) -> float:
        self.count += 1
        loss = self.land.loss(self.moved(displacement))
        return loss if np.isfinite(loss) else float("inf")


def combine(
    land: Landscape,
    point: Array,
    first: tuple[Array, float, float],
    directions: Array,
    curvatures: Array,
    largest: float,
) -> Combined | None:
    """Adds further directions to a step, each with the sign and the length that lower the loss; None when none does.

    Below a saddle the loss is about ½Σρᵢtᵢ² plus terms that stop the fall, the later the more negative ρᵢ: lengths in
    proportion to √|ρᵢ| are tried first (exact for equal fourth derivatives), then halves of them.

    Args:
        land: the landscape.
        point: θ (n,).
        first: (displacement (n,), its curvature < 0, the loss there).
        directions: (n, q) further orthonormal directions.
        curvatures: (q,) their quotients; those that are not negative are left out.
        largest: length that the doubled step may have.
    """
    displacement, curvature, best = first
    length, at, used = norm_of(displacement), _Trials(land, point), 0
    if length == 0.0:
        return None
    for v, rho in list(zip(directions.T, curvatures, strict=True))[:MOST]:
        if not rho < 0.0:
            continue
        for halving in range(_HALVINGS):
            t = length * float(np.sqrt(rho / curvature)) / 2.0**halving
            loss, side = min((at(displacement + side * t * v), side) for side in (1.0, -1.0))
            if loss < best:
                displacement, best, used = displacement + side * t * v, loss, used + 1
                break
    if used == 0:
        return None
    while 2.0 * norm_of(displacement) <= largest:
        loss = at(2.0 * displacement)
        if loss >= best:
            break
        displacement, best = 2.0 * displacement, loss
    return Combined(displacement, at.moved(displacement), best, used, at.count)
