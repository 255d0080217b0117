"""Blame: which named blocks, and which of their rows, a direction and its curvature live in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError
from ..operators import as_operator
from ..plain_text import plain as one_line
from ..ranges import Count
from ..real_array import real_array

if TYPE_CHECKING:
    from ..landscape import Block
    from ..report.facts import Fact

Array = NDArray[Any]


@dataclass(frozen=True)
class BlockShare:
    """One block's part in a direction d.

    Attributes:
        name: of the block.
        weight: ‖d_b‖²/‖d‖², in [0, 1]; sums to 1 over all blocks.
        curvature: d_bᵀ(Hd)_b / dᵀHd; sums to 1, single shares may be negative or above 1.
    """

    name: str
    weight: float
    curvature: float


@dataclass(frozen=True)
class RowShare:
    """One row's part in a direction: a unit's incoming weights, or one entry of a vector.

    Attributes:
        name: of the block.
        row: index along the block's first axis.
        weight: share of ‖d‖².
        curvature: share of dᵀHd.
    """

    name: str
    row: int
    weight: float
    curvature: float


@dataclass(frozen=True)
class Blame:
    """Where a direction of curvature lives; `str()` of it is one sentence.

    Attributes:
        value: dᵀHd/‖d‖², the curvature along the direction.
        blocks: every block in the order of θ.
        rows: the rows with the largest share of the curvature, largest first.
    """

    value: float
    blocks: tuple[BlockShare, ...]
    rows: tuple[RowShare, ...]

    @property
    def worst(self) -> BlockShare:
        """The block with the largest share of the curvature."""
        return max(self.blocks, key=lambda share: share.curvature)

    def __str__(self) -> str:
        worst = self.worst
        same = [str(row.row) for row in self.rows if row.name == worst.name]
        rows = f", most of it in row{'s' if len(same) > 1 else ''} {', '.join(same)}" if same else ""
        return (
            f"{worst.curvature:.0%} of the curvature {self.value:.4g} along this direction belongs to "
            f"{one_line(worst.name, 80)}{rows}."
        )

    def facts(self) -> list[Fact]:
        """The sentence, then one fact per block."""
        from ..report.facts import Fact

        first = Fact("blame", one_line(self.worst.name), "info", str(self), {"curvature": self.value})
        return [first] + [
            Fact(
                one_line(share.name),
                f"{share.curvature:.1%}",
                "info",
                f"{share.weight:.1%} of the direction",
                {"weight": share.weight, "curvature": share.curvature},
            )
            for share in self.blocks
        ]


def blame(op: Any, direction: ArrayLike, blocks: list[Block], rows: int = 5) -> Blame:
    """Which blocks and rows the curvature along a direction belongs to.

    Args:
        op: the symmetric operator H (n, n): `land.hessian(theta)`, a matrix, or any LinearOperator.
        direction: d (n,), of any length but 0, e.g. `cp.direction` or an eigenvector.
        blocks: [(name, slice, shape)], e.g. `land.blocks`.
        rows: how many single rows to name.

    Returns:
        A `Blame`. For an eigenvector the curvature shares equal the weights.

    Raises:
        ArgumentError: shapes do not fit, or `direction` is zero or not finite.

    Cost: one product. Guarantee: the shares add up to 1 within rounding; where dᵀHd is 0 within rounding they are
    those of the direction itself.
    """
    H = as_operator(op)
    d = real_array(direction, "direction").astype(np.float64)
    n = H.shape[0]
    if d.shape != (n,) or not np.isfinite(d).all() or not d.any():
        raise ArgumentError(f"`direction` must be finite, not zero, of shape ({n},), got {d.shape}")
    count = Count(0).check("rows", rows)
    if sum(where.stop - where.start for _, where, _ in blocks) != n:
        raise ArgumentError(f"`blocks` must cover the {n} parameters of `op`")
    unit = d / np.linalg.norm(d)
    curved = unit * np.asarray(H @ unit.astype(H.dtype), dtype=np.float64)
    value = float(curved.sum())
    weight = unit**2
    eps = float(np.finfo(H.dtype).eps)
    share = curved / value if abs(value) > 4 * eps * float(np.abs(curved).sum()) else weight
    parts, single = [], []
    for name, where, shape in blocks:
        parts.append(BlockShare(str(name), float(weight[where].sum()), float(share[where].sum())))
        size = shape[0] if shape else 1
        w, c = (x[where].reshape(size, -1).sum(axis=1) for x in (weight, share))
        for i in np.argsort(-c, kind="stable")[:count]:
            single.append(RowShare(str(name), int(i), float(w[i]), float(c[i])))
    single.sort(key=lambda row: -row.curvature)
    return Blame(value, tuple(parts), tuple(single[:count]))
