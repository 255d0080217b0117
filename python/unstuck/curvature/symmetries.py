"""Symmetries: directions along which the loss cannot change, because of how the network is built or what it sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError, ArgumentTypeError
from ..landscape import check_theta
from ..operators import HessianOperator, as_operator
from ..ranges import NON_NEGATIVE

if TYPE_CHECKING:
    from ..network_landscape import NetworkLandscape

Array = NDArray[Any]

MOST_SAMPLES = 4096  # on which dead units and unused inputs are looked for
MOST_VECTORS = 2000  # directions held at once


@dataclass(frozen=True)
class Symmetry:
    """One family of directions along which the loss does not change.

    Attributes:
        reason: why, in words with the layers' names.
        count: independent directions of this family beyond those of the families before it.
    """

    reason: str
    count: int


@dataclass(frozen=True)
class Symmetries:
    """The flat directions that are known without looking at the spectrum; `str()` of it is one sentence.

    Attributes:
        families: why and how many.
        basis: orthonormal (n, count), float64: the directions.
        residual: largest ‖Hd‖ over the unit vectors d of the basis, in units of H; at a critical point it is noise.
        n: number of parameters.
    """

    families: tuple[Symmetry, ...]
    basis: Array = field(repr=False)
    residual: float
    n: int

    @property
    def count(self) -> int:
        """Independent flat directions."""
        return int(self.basis.shape[1])

    def __str__(self) -> str:
        if not self.count:
            return f"None of the {self.n} directions is flat by a known symmetry."
        parts = "; ".join(f"{family.count} by {family.reason}" for family in self.families if family.count)
        return f"{self.count} of the {self.n} directions are flat by construction: {parts}."

    def deflate(self, op: Any) -> HessianOperator:
        """(I − QQᵀ)·H·(I − QQᵀ) with Q the basis: the operator without these directions, which become exact zeros."""
        H, Q = as_operator(op), self.basis
        if H.shape[0] != self.n:
            raise ArgumentError(f"`op` must have shape ({self.n}, {self.n}), got {H.shape}")

        def apart(rows: Array) -> Array:
            wide = rows.astype(np.float64)
            return np.ascontiguousarray((wide - (wide @ Q) @ Q.T).astype(H.dtype))

        def block(rows: Array) -> Array:
            return apart(np.ascontiguousarray((H @ apart(rows).T).T))

        return HessianOperator(
            self.n, H.dtype, lambda v: block(v[None])[0], block, exact=H.exact, noise=H.noise, plan=H.plan
        )


def symmetries(land: NetworkLandscape, theta: ArrayLike | None = None, tolerance: float | None = None) -> Symmetries:
    """The directions in which the loss of a network cannot curve at a critical point, and why.

    Families: logits that may all be shifted (CrossEntropy behind a Linear), hidden units whose weights can be scaled
    in against out (Linear, then Identity, ReLU or LeakyReLU, then Linear), biases that BatchNorm removes again in
    training, units that are 0 on all data, and inputs that are 0 on all data. For a rescaling t the Hessian obeys
    H·t = −(∂t/∂θ)ᵀ∇L, so that it is flat where the gradient vanishes; the others are flat everywhere.

    Args:
        land: a NetworkLandscape; with `l2` > 0 nothing is flat and the answer is empty.
        theta: the point (n,); None: the network's current one.
        tolerance: what counts as flat, in units of curvature; None: 1e-4·‖H‖, as in `classify`.

    Returns:
        `Symmetries`, at most 2,000 directions.

    Raises:
        ArgumentError: `tolerance` is negative.
        ArgumentTypeError: `land` is no NetworkLandscape.

    Guarantee: every family was checked by the product with one random mixture of its directions, and is left out
    where that is not flat within `tolerance`; `residual` is the largest product of a single one.
    Cost: one forward pass over at most 4,096 samples, a dozen products, and one for each family and direction.
    """
    from ..network_landscape import NetworkLandscape

    if not isinstance(land, NetworkLandscape):
        raise ArgumentTypeError(f"`land` must be a NetworkLandscape, got {type(land).__name__}")
    point = check_theta(land.theta if theta is None else theta, land.n, land.dtype)
    if land.l2 > 0.0:
        return Symmetries((), np.zeros((land.n, 0)), 0.0, land.n)
    op = land.hessian(point)
    flat = 1e-4 * _norm(op) if tolerance is None else NON_NEGATIVE.check("tolerance", tolerance)
    basis, families = np.zeros((land.n, 0)), []
    for reason, vectors in _families(land, point):
        if not vectors or basis.shape[1] >= MOST_VECTORS:
            continue
        matrix = np.array(vectors[: MOST_VECTORS - basis.shape[1]]).T
        matrix /= np.linalg.norm(matrix, axis=0)
        mixture = matrix @ np.random.default_rng(0).standard_normal(matrix.shape[1])
        mixture /= np.linalg.norm(mixture)
        if float(np.linalg.norm(op @ mixture.astype(op.dtype))) > flat:
            continue
        wider = _extended(basis, matrix)
        families.append(Symmetry(reason, wider.shape[1] - basis.shape[1]))
        basis = wider
    return Symmetries(tuple(families), basis, _residual(op, basis), land.n)


def _norm(op: HessianOperator) -> float:
    """‖H‖ from below, by a dozen power iterations."""
    v = np.random.default_rng(1).standard_normal(op.shape[0])
    size = 0.0
    for _ in range(12):
        v /= max(float(np.linalg.norm(v)), 1e-300)
        v = np.asarray(op @ v.astype(op.dtype), dtype=np.float64)
        size = max(size, float(np.linalg.norm(v)))
    return size


def _extended(basis: Array, matrix: Array) -> Array:
    """The basis with what `matrix` adds to its span; dependent directions drop out."""
    for _ in range(2):
        matrix = matrix - basis @ (basis.T @ matrix)
    left, sizes, _ = np.linalg.svd(matrix, full_matrices=False)
    return np.concatenate([basis, left[:, sizes > 1e-6]], axis=1)


def _residual(op: HessianOperator, basis: Array) -> float:
    worst = 0.0
    for start in range(0, basis.shape[1], 64):
        products = np.asarray(op @ basis[:, start : start + 64].astype(op.dtype), dtype=np.float64)
        worst = max(worst, float(np.linalg.norm(products, axis=0).max()))
    return worst


def _families(land: NetworkLandscape, theta: Array) -> Iterator[tuple[str, list[Array]]]:
    """(reason, directions (n,)) of every family, those that are flat everywhere first."""
    view = _View(land, theta)
    yield "logits that may all be shifted alike", list(view.logit_shifts())
    yield "inputs that are 0 on all data", list(view.unused_inputs())
    yield "units that are 0 on all data", list(view.dead_units())
    yield "biases that the normalisation behind them removes", list(view.removed_biases())
    yield "units whose weights can be scaled in against out", list(view.rescalings())


class _View:
    """A network's nodes, blocks and activations, as the families need them."""

    def __init__(self, land: NetworkLandscape, theta: Array) -> None:
        self.land, self.theta = land, theta.astype(np.float64)
        self.nodes = land.net._wiring.nodes
        self.blocks = {name: (where, shape) for name, where, shape in land.blocks}
        rows = land.X.shape[0]
        self.X = land.X if land.mode == "train" else land.X[:MOST_SAMPLES]
        self.whole = self.X.shape[0] == rows
        inputs = self.X.reshape(-1, *land.net.input_shape)
        self.outputs = [h.reshape(len(h), -1) for _, h in land.net.activations(inputs, theta, land.mode)]

    def readers(self, i: int) -> list[int]:
        """Nodes that read node i."""
        return [j for j, node in enumerate(self.nodes) if i in (node.source, node.second)]

    def linear(self, i: int) -> bool:
        """Whether node i is a Linear of its own parameters."""
        return self.nodes[i].kind == "Linear" and f"{self.nodes[i].name}.weight" in self.blocks

    def has(self, i: int, name: str) -> bool:
        """Whether node i has such a block."""
        return f"{self.nodes[i].name}.{name}" in self.blocks

    def _within(self, direction: Array, i: int, name: str) -> Array:
        """The view of node i's block in a vector (n,)."""
        where, shape = self.blocks[f"{self.nodes[i].name}.{name}"]
        return direction[where].reshape(shape)

    def _empty(self, i: int, name: str) -> tuple[Array, Array]:
        """A zero direction (n,), and the view of node i's block in it."""
        direction = np.zeros(self.land.n)
        return direction, self._within(direction, i, name)

    def logit_shifts(self) -> Iterator[Array]:
        last = len(self.nodes) - 1
        if self.land.loss_function.kind != "CrossEntropy" or not self.linear(last):
            return
        for column in range(self.blocks[f"{self.nodes[last].name}.weight"][1][1]):
            direction, weight = self._empty(last, "weight")
            weight[:, column] = 1.0
            yield direction
        if self.has(last, "bias"):
            direction, bias = self._empty(last, "bias")
            bias[:] = 1.0
            yield direction

    def unused_inputs(self) -> Iterator[Array]:
        used = self.X.reshape(len(self.X), -1).any(axis=0)
        zero = np.flatnonzero(~used) if self.whole else np.empty(0, np.int64)
        for i, node in enumerate(self.nodes):
            if node.source < 0 and self.linear(i):
                for column in zero:
                    yield from self._rows_of(i, column=int(column))

    def _rows_of(self, i: int, column: int) -> Iterator[Array]:
        """One direction per row of node i's weight, along one column."""
        for row in range(self.blocks[f"{self.nodes[i].name}.weight"][1][0]):
            direction, weight = self._empty(i, "weight")
            weight[row, column] = 1.0
            yield direction

    def hidden(self, kinds: tuple[str, ...]) -> Iterator[tuple[int, int, int]]:
        """(Linear, activation, Linear) in a row without branches."""
        for i, node in enumerate(self.nodes):
            if node.kind in kinds and node.second < 0 and node.source >= 0 and self.linear(node.source):
                after = self.readers(i)
                if self.readers(node.source) == [i] and len(after) == 1 and self.linear(after[0]):
                    yield node.source, i, after[0]

    def dead_units(self) -> Iterator[Array]:
        if not self.whole:
            return
        for before, _, after in self.hidden(("ReLU",)):
            # strictly inside: a unit at its kink is not flat
            dead = np.flatnonzero((self.outputs[before] < 0.0).all(axis=0))
            for unit in dead:
                yield from self._rows_of(after, column=int(unit))
                yield from self._incoming(before, int(unit))

    def _incoming(self, i: int, unit: int) -> Iterator[Array]:
        """One direction per weight into one unit, and its bias."""
        for column in range(self.blocks[f"{self.nodes[i].name}.weight"][1][1]):
            direction, weight = self._empty(i, "weight")
            weight[unit, column] = 1.0
            yield direction
        if self.has(i, "bias"):
            direction, bias = self._empty(i, "bias")
            bias[unit] = 1.0
            yield direction

    def removed_biases(self) -> Iterator[Array]:
        if self.land.mode != "train":
            return
        for node in self.nodes:
            i = node.source
            if node.kind != "BatchNorm" or getattr(node.layer, "frozen", False):
                continue  # running statistics remove no bias
            if i < 0 or not self.linear(i) or not self.has(i, "bias"):
                continue
            if len(self.readers(i)) == 1:
                for unit in range(self.blocks[f"{self.nodes[i].name}.bias"][1][0]):
                    direction, bias = self._empty(i, "bias")
                    bias[unit] = 1.0
                    yield direction

    def rescalings(self) -> Iterator[Array]:
        for before, _, after in self.hidden(("ReLU", "LeakyReLU", "Identity")):
            for unit in range(self.blocks[f"{self.nodes[before].name}.weight"][1][0]):
                direction = np.zeros(self.land.n)
                for name in ("weight", "bias"):
                    if self.has(before, name):
                        self._within(direction, before, name)[unit] = self._within(self.theta, before, name)[unit]
                self._within(direction, after, "weight")[:, unit] = -self._within(self.theta, after, "weight")[:, unit]
                if direction.any():
                    yield direction
