"""Layers made of layers: Sequential, Residual; and those that only change how samples are read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import ArgumentError, ArgumentTypeError
from ..what_came import what_came
from .layer import Layer, Shape, size

if TYPE_CHECKING:
    from .wiring import Signal, Wiring


def _checked(layers: tuple[Any, ...], kind: str) -> tuple[Layer, ...]:
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise ArgumentTypeError(f"layer {i} of {kind} must be a layer of unstuck.nn, got {what_came(layer)}")
    if not layers:
        raise ArgumentError(f"{kind} needs at least one layer")
    return layers


@dataclass(frozen=True, init=False)
class Sequential(Layer):
    """Layers one behind the other, as torch.nn.Sequential.

    Args:
        *layers: first to last; the parameters of the second are named "….1.weight".
    """

    layers: tuple[Layer, ...]
    kind: ClassVar[str] = "Sequential"

    def __init__(self, *layers: Layer) -> None:
        object.__setattr__(self, "layers", _checked(layers, "Sequential"))

    def wire(self, wiring: Wiring, name: str, signal: Signal) -> Signal:
        """Each layer behind the one before."""
        return wiring.chain(self.layers, signal, f"{name}.")


@dataclass(frozen=True, init=False)
class Residual(Layer):
    """h = F(a) + s(a): layers F beside a shortcut s (1512.03385).

    Args:
        *layers: F, first to last; their parameters are named "….0.weight", "….1.weight" and so on.
        shortcut: s, one layer (Sequential for several); None: a itself. Its parameters are "….shortcut.weight".
    """

    layers: tuple[Layer, ...]
    shortcut: Layer | None
    kind: ClassVar[str] = "Residual"

    def __init__(self, *layers: Layer, shortcut: Layer | None = None) -> None:
        object.__setattr__(self, "layers", _checked(layers, "Residual"))
        if shortcut is not None and not isinstance(shortcut, Layer):
            raise ArgumentTypeError(f"`shortcut` must be a layer of unstuck.nn or None, got {type(shortcut).__name__}")
        object.__setattr__(self, "shortcut", shortcut)

    def wire(self, wiring: Wiring, name: str, signal: Signal) -> Signal:
        """F, the shortcut, and their sum."""
        block = wiring.chain(self.layers, signal, f"{name}.")
        side = signal if self.shortcut is None else wiring.place(self.shortcut, f"{name}.shortcut", signal)
        if block.shape != side.shape:
            cure = "; give a `shortcut` that changes the shape alike" if self.shortcut is None else ""
            raise ArgumentError(f"Residual adds samples of shape {block.shape} to samples of shape {side.shape}{cure}")
        return wiring.add_sum(name, block, side)


@dataclass(frozen=True)
class Flatten(Layer):
    """Samples (C, …) read as vectors of C·… features, as torch.nn.Flatten; costs nothing."""

    kind: ClassVar[str] = "Flatten"

    def wire(self, wiring: Wiring, name: str, signal: Signal) -> Signal:
        """The same signal in another shape."""
        return type(signal)(signal.node, (math.prod(signal.shape),))


@dataclass(frozen=True)
class Unflatten(Layer):
    """Samples read in another shape of as many features, e.g. Unflatten((1, 8, 8)) for planes; costs nothing.

    Args:
        shape: of one sample, without the axis of samples.
    """

    shape: Shape
    kind: ClassVar[str] = "Unflatten"

    def __post_init__(self) -> None:
        if not isinstance(self.shape, (tuple, list)) or not self.shape:
            raise ArgumentTypeError(f"`shape` must be a tuple of integers such as (1, 8, 8), got {self.shape!r}")
        object.__setattr__(self, "shape", tuple(size("shape", x) for x in self.shape))

    def wire(self, wiring: Wiring, name: str, signal: Signal) -> Signal:
        """The same signal in another shape."""
        if math.prod(signal.shape) != math.prod(self.shape):
            raise ArgumentError(f"Unflatten to {self.shape} does not fit samples of shape {signal.shape}")
        return type(signal)(signal.node, self.shape)
