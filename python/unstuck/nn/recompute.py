"""Running statistics computed anew over data, as they are needed after averaging weights."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, ArgumentTypeError, NonFiniteError
from ..ranges import Choice, Count
from .batch_norm import BatchNorm, BatchRenorm
from .network import Network
from .wiring import Node

Array = NDArray[Any]

_METHOD = Choice("average", "population")


def recompute_statistics(
    net: Network,
    X: Any,
    batch_size: int | None = None,
    *,
    method: Literal["average", "population"] = "average",
    theta: Any = None,
    buffers: Any = None,
) -> None:
    """Set the running statistics of every BatchNorm and BatchRenorm to those of the data; θ stays as it is.

    The batches go through the network as in training; layers with track=False or frozen=True keep what they have,
    and so does the count of training steps.

    Args:
        net: the network whose `buffers` are set.
        X: samples (N, *input_shape), taken in order.
        batch_size: the data is cut into ⌈N/batch_size⌉ batches of nearly equal size; None: one batch of all.
        method: "average": the mean over the batches of what each contributes, as momentum=None and
            torch.optim.swa_utils.update_bn; "population": mean and variance of all values of a channel together,
            the batches' moments merged by Chan's formula.
        theta: the parameters (n,); None: the network's own.
        buffers: where the statistics are written, an array like `net.buffers`; None: there.

    Raises:
        ArgumentError: wrong shapes or choices, or a batch too small for a layer; the message names it.
        NonFiniteError: what arrives at a layer holds NaN or infinity.
        State: after an error the statistics are what they were.

    Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
    """
    if not isinstance(net, Network):
        raise ArgumentTypeError(f"`net` must be an unstuck.nn.Network, got {type(net).__name__}")
    if buffers is not None and (getattr(buffers, "shape", None), getattr(buffers, "dtype", None)) != (
        net.buffers.shape,
        net.buffers.dtype,
    ):
        raise ArgumentError(f"`buffers` must be an array of {net.buffers.size} numbers of {net.dtype}")
    population = _METHOD.check("method", method) == 1.0
    rows = net._rows(X).reshape(-1, *net.input_shape)
    size = max(1, len(rows)) if batch_size is None else Count(1).check("batch_size", batch_size)
    if not len(rows):
        raise ArgumentError("`X` has no rows; statistics need at least one sample")
    nodes = {i: node for i, node in enumerate(net._wiring.nodes) if _averages(node)}
    running = {i: _Running(node, population) for i, node in nodes.items()}
    for batch in np.array_split(rows, -(-len(rows) // size)):
        outputs = net.activations(batch, theta, mode="train") if nodes else []
        for i, node in nodes.items():
            running[i].add(batch if node.source < 0 else outputs[node.source][1])
    target = net.buffers if buffers is None else buffers
    places = {name: where for name, where, _ in net.buffer_blocks}
    for i, node in nodes.items():
        for name, values in running[i].result().items():
            target[places[f"{node.name}.{name}"]] = values


def _averages(node: Node) -> bool:
    layer = node.layer
    return isinstance(layer, BatchRenorm) or (isinstance(layer, BatchNorm) and layer.track and not layer.frozen)


class _Running:
    """The statistics of one layer's input over the batches seen so far, in float64."""

    def __init__(self, node: Node, population: bool) -> None:
        assert isinstance(node.layer, (BatchNorm, BatchRenorm))
        self.name, self.layer, self.population = node.name, node.layer, population
        self.norm = node.layer.norm if isinstance(node.layer, BatchNorm) else "l2"
        if population and self.norm in ("l1", "linf"):
            raise ArgumentError(
                f'`method` "population" merges variances, which layer {node.name} with norm {self.norm!r} has not; '
                'use "average"'
            )
        self.batches = self.count = 0
        self.mean: Array = np.zeros(node.layer.channels)
        self.squares: Array = np.zeros(node.layer.channels)  # Σ (a − mean)²
        self.spread: Array = np.zeros(node.layer.channels)  # average over the batches

    def add(self, arriving: Array) -> None:
        """One more batch of what arrives at the layer."""
        values = arriving.reshape(len(arriving), self.layer.channels, -1).astype(np.float64)
        if not np.isfinite(values).all():
            raise NonFiniteError(f"what arrives at layer {self.name} holds NaN or infinity; check `X` and `theta`")
        new = values.shape[0] * values.shape[2]
        mean = values.mean(axis=(0, 2))
        deviation = values - mean[:, None]
        squares = np.square(deviation).sum(axis=(0, 2))
        shift, self.batches = mean - self.mean, self.batches + 1
        if self.population:
            total = self.count + new
            self.mean = self.mean + shift * (new / total)
            self.squares = self.squares + squares + np.square(shift) * (self.count * new / total)
        else:
            self.mean = self.mean + shift / self.batches
            self.spread = self.spread + (self._spread(deviation, squares, new) - self.spread) / self.batches
        self.count += new

    def _spread(self, deviation: Array, squares: Array, count: int) -> Array:
        if self.norm == "l1":
            return np.asarray(np.abs(deviation).mean(axis=(0, 2)))
        if self.norm == "linf":
            return np.asarray(np.abs(deviation).max(axis=(0, 2)))
        return self._of_squares(squares, count)

    def _of_squares(self, squares: Array, count: int) -> Array:
        if isinstance(self.layer, BatchRenorm):
            return np.asarray(np.sqrt(squares / count + self.layer.eps))
        return np.asarray(np.sqrt(squares / count) if self.layer.average == "std" else squares / max(1, count - 1))

    def result(self) -> dict[str, Array]:
        """{buffer: values}."""
        if self.norm == "none":
            return {"running_mean": self.mean}
        if self.norm in ("l1", "linf"):
            name = "running_scale"
        else:
            name = "running_var" if getattr(self.layer, "average", "std") == "variance" else "running_std"
        spread = self._of_squares(self.squares, self.count) if self.population else self.spread
        return {"running_mean": self.mean, name: spread}
