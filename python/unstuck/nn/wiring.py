"""Wiring: the layers of a network as the core sees them, each reading from an earlier one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import ArgumentError
from .layer import Layer, Shape

_INPUT, _NONE = -1, -2


@dataclass(frozen=True)
class Signal:
    """What comes out of a node, or of the input: samples of `shape`."""

    node: int
    shape: Shape


@dataclass(frozen=True)
class Node:
    """One layer of the core: its place in the user's nesting, where it reads, and the shape of its samples."""

    name: str
    layer: Layer | None  # None: the sum of two signals
    kind: str
    options: dict[str, float]
    source: int
    second: int
    shape: Shape
    parametrization: tuple[str, dict[str, float]] = ("", {})  # of the layer's weight

    @property
    def title(self) -> str:
        """Name and kind, e.g. "3.0.Conv2d"."""
        return f"{self.name}.{self.layer.kind if self.layer else 'Sum'}"


@dataclass
class Wiring:
    """Nodes in the order in which the core runs them."""

    nodes: list[Node] = field(default_factory=list)

    def add(self, name: str, layer: Layer, options: dict[str, float], signal: Signal, shape: Shape) -> Signal:
        """A node for `layer` behind `signal`."""
        kind = layer.core_kind or layer.kind
        self.nodes.append(Node(name, layer, kind, options, signal.node, _NONE, shape))
        return Signal(len(self.nodes) - 1, shape)

    def add_sum(self, name: str, first: Signal, second: Signal) -> Signal:
        """A node that adds two signals of one shape."""
        self.nodes.append(Node(name, None, "Identity", {}, first.node, second.node, first.shape))
        return Signal(len(self.nodes) - 1, first.shape)

    def chain(self, layers: Sequence[Layer], signal: Signal, prefix: str = "") -> Signal:
        """Layers one behind the other, named by their positions."""
        for i, layer in enumerate(layers):
            signal = self.place(layer, f"{prefix}{i}", signal)
        return signal

    def place(self, layer: Layer, name: str, signal: Signal) -> Signal:
        """One layer, with its name in front of what it has to complain about.

        Raises:
            ArgumentError: the layer does not fit behind `signal`; the message names the layer.
        """
        try:
            return layer.wire(self, name, signal)
        except ArgumentError as error:
            text = str(error)
            raise ArgumentError(text if text.startswith("layer ") else f"layer {name}: {text}") from None

    def specs(self) -> list[tuple[str, str, dict[str, float], int, int, str, dict[str, float]]]:
        """What the core builds the network from."""
        return [(n.name, n.kind, n.options, n.source, n.second, *n.parametrization) for n in self.nodes]


def wire(layers: Sequence[Layer], input_shape: Shape) -> tuple[Wiring, Shape]:
    """The wiring of `layers` in a row, and the shape of an output sample."""
    wiring = Wiring()
    out = wiring.chain(layers, Signal(_INPUT, input_shape))
    if out.node != len(wiring.nodes) - 1 or math.prod(out.shape) < 1:
        raise ArgumentError("the last layer must be the network's output")
    return wiring, out.shape
