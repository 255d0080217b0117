"""Families of directions along which a network's loss cannot change, as sparse vectors: what the symmetries are."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..network_landscape import NetworkLandscape

Array = NDArray[Any]
Column = tuple[Array, Array]  # indices into θ, values

MOST_SAMPLES = 4096  # on which dead units and unused inputs are looked for
MOST_COLUMNS = 2000  # directions of more than one parameter
LINEAR = ("Linear", "Conv2d", "Conv1d")
BATCH = ("BatchNorm", "BatchRenorm")


class Family(NamedTuple):
    """Directions with one reason.

    Attributes:
        reason: why the loss does not change along them, in words.
        coordinates: (m,) parameters that are such directions by themselves.
        columns: the others.
    """

    reason: str
    coordinates: Array
    columns: list[Column]


def families(land: NetworkLandscape, theta: Array) -> Iterator[Family]:
    """Every family, those that are flat everywhere first."""
    view = _View(land, theta)
    several = view.logit_shifts()
    yield _of_columns("logits that may all be shifted alike", several)
    yield _of_coordinates("inputs that are 0 on all data", view.unused_inputs())
    yield _of_coordinates("units that are 0 on all data", view.dead_units())
    yield _of_coordinates("biases that the normalisation behind them removes", view.removed_biases())
    yield _of_columns("means that the normalisation behind them removes", view.removed_means())
    yield _of_columns("weights whose scale the normalisation behind them removes", view.removed_scales())
    yield _of_columns("units whose weights can be scaled in against out", view.rescalings())


def _of_coordinates(reason: str, parts: Iterator[Array]) -> Family:
    found = [np.asarray(part, dtype=np.int64).ravel() for part in parts]
    return Family(reason, np.unique(np.concatenate([np.empty(0, np.int64), *found])), [])


def _of_columns(reason: str, columns: Iterator[Column]) -> Family:
    return Family(reason, np.empty(0, np.int64), list(islice(columns, MOST_COLUMNS)))


class _View:
    """A network's nodes, blocks and activations, as the families need them."""

    def __init__(self, land: NetworkLandscape, theta: Array) -> None:
        self.land, self.theta = land, theta.astype(np.float64)
        self.nodes = land.net._wiring.nodes
        self.places = {name: np.arange(where.start, where.stop).reshape(shape) for name, where, shape in land.blocks}
        rows = land.X.shape[0]
        self.X = land.X if land.mode == "train" else land.X[:MOST_SAMPLES]
        self.whole = self.X.shape[0] == rows
        inputs = self.X.reshape(-1, *land.net.input_shape)
        self.outputs = [h.reshape(len(h), -1) for _, h in land.net.activations(inputs, theta, land.mode)]

    def readers(self, i: int) -> list[int]:
        """Nodes that read node i."""
        return [j for j, node in enumerate(self.nodes) if i in (node.source, node.second)]

    def linear(self, i: int, kinds: tuple[str, ...] = ("Linear",)) -> bool:
        """Whether node i is a Linear (or of other kinds) of its own parameters."""
        return i >= 0 and self.nodes[i].kind in kinds and self.has(i, "weight")

    def has(self, i: int, name: str) -> bool:
        """Whether node i has such a block."""
        return f"{self.nodes[i].name}.{name}" in self.places

    def place(self, i: int, name: str) -> Array:
        """Where node i's block lies in θ, in its own shape."""
        return self.places[f"{self.nodes[i].name}.{name}"]

    def logit_shifts(self) -> Iterator[Column]:
        """The same for every class: to each column of the last weight, and to the bias."""
        last = len(self.nodes) - 1
        if self.land.loss_function.kind != "CrossEntropy" or not self.linear(last):
            return
        yield from self._same_for_all_rows(last)

    def _same_for_all_rows(self, i: int) -> Iterator[Column]:
        for column in self.place(i, "weight").T:
            yield column, np.ones(len(column))
        if self.has(i, "bias"):
            where = self.place(i, "bias")
            yield where, np.ones(len(where))

    def unused_inputs(self) -> Iterator[Array]:
        used = self.X.reshape(len(self.X), -1).any(axis=0)
        zero = np.flatnonzero(~used) if self.whole else np.empty(0, np.int64)
        for i, node in enumerate(self.nodes):
            if node.source < 0 and self.linear(i):
                yield self.place(i, "weight")[:, zero]

    def hidden(self, kinds: tuple[str, ...]) -> Iterator[tuple[int, int]]:
        """(Linear, Linear) around an activation, in a row without branches."""
        for i, node in enumerate(self.nodes):
            if node.kind in kinds and node.second < 0 and node.source >= 0 and self.linear(node.source):
                after = self.readers(i)
                if self.readers(node.source) == [i] and len(after) == 1 and self.linear(after[0]):
                    yield node.source, after[0]

    def dead_units(self) -> Iterator[Array]:
        if not self.whole:
            return
        for before, after in self.hidden(("ReLU",)):
            # strictly inside: a unit at its kink is not flat
            dead = np.flatnonzero((self.outputs[before] < 0.0).all(axis=0))
            yield self.place(after, "weight")[:, dead]
            yield self.place(before, "weight")[dead]
            if self.has(before, "bias"):
                yield self.place(before, "bias")[dead]

    def normalised(self, kinds: tuple[str, ...]) -> Iterator[int]:
        """Linear or convolution that nothing but a normalisation of these kinds reads."""
        for node in self.nodes:
            frozen = self.land.mode != "train" or getattr(node.layer, "frozen", False)
            if node.kind not in kinds or (node.kind in BATCH and frozen):
                continue  # running statistics remove nothing
            if self.linear(node.source, LINEAR) and len(self.readers(node.source)) == 1:
                yield node.source

    def removed_biases(self) -> Iterator[Array]:
        for i in self.normalised(BATCH):
            if self.has(i, "bias"):
                yield self.place(i, "bias")

    def removed_means(self) -> Iterator[Column]:
        for i in self.normalised(("LayerNorm",)):
            if self.linear(i):
                yield from self._same_for_all_rows(i)

    def removed_scales(self) -> Iterator[Column]:
        for i in self.normalised(BATCH):  # channel by channel
            for row in self.place(i, "weight"):
                yield row.ravel(), self.theta[row.ravel()]
        for i in self.normalised(("LayerNorm", "RMSNorm")):  # all together
            if self.linear(i):
                names = [name for name in ("weight", "bias") if self.has(i, name)]
                where = np.concatenate([self.place(i, name).ravel() for name in names])
                yield where, self.theta[where]

    def rescalings(self) -> Iterator[Column]:
        for before, after in self.hidden(("ReLU", "LeakyReLU", "Identity")):
            names = [name for name in ("weight", "bias") if self.has(before, name)]
            for unit in range(len(self.place(before, "weight"))):
                ins = np.concatenate([self.place(before, name)[unit].ravel() for name in names])
                out = self.place(after, "weight")[:, unit]
                yield np.concatenate([ins, out]), np.concatenate([self.theta[ins], -self.theta[out]])
