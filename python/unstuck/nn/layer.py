"""What every layer is: an immutable description that the network gives to the core with the shapes it found."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, ArgumentTypeError
from .init import Initialiser

if TYPE_CHECKING:
    from .wiring import Signal, Wiring

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """Base of all layers. The same object may appear in several networks, or several times in one."""

    kind: ClassVar[str] = ""
    core_kind: ClassVar[str] = ""  # under which the core knows it, when not as `kind`

    def options(self) -> dict[str, float]:
        """The numbers that the core builds the layer from, whatever the shape of its input."""
        return {f.name: float(getattr(self, f.name)) for f in fields(self)}

    def lower(self, shape: Shape) -> tuple[dict[str, float], Shape]:
        """(options for the core, shape of an output sample) for input samples of `shape`.

        Raises:
            ArgumentError: the layer takes no such samples.
        """
        return self.options(), shape

    def wire(self, wiring: Wiring, name: str, signal: Signal) -> Signal:
        """Adds the layer to `wiring` behind `signal`, and returns what comes out of it."""
        options, shape = self.lower(signal.shape)
        return wiring.add(name, self, options, signal, shape)

    def start(
        self, shapes: dict[str, Shape], init: Initialiser, rng: np.random.Generator
    ) -> dict[str, NDArray[np.float64]]:
        """First values of the layer's parameters, by name and in their shapes, in float64.

        Args:
            shapes: {name: shape} of the parameters that the core gave the layer.
            init: the network's initialiser.
            rng: where every draw comes from.
        """
        return {}

    def start_buffers(self, shapes: dict[str, Shape], rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """First values of those buffers that start at random, by name."""
        return {}


def size(name: str, value: Any, low: int = 1) -> int:
    """`value` as an integer in [low, 2^31), or an error that names it."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ArgumentTypeError(f"`{name}` must be an integer, got {value!r}")
    if not low <= value < 2**31:
        raise ArgumentError(f"`{name}` must be in [{low}, 2^31), got {value}")
    return int(value)


def number(name: str, value: Any, low: float = -np.inf) -> float:
    """`value` as a finite float above `low`, or an error that names it."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ArgumentTypeError(f"`{name}` must be a number, got {value!r}")
    if not (np.isfinite(value) and value > low):
        raise ArgumentError(f"`{name}` must be finite{'' if low == -np.inf else f' and above {low:g}'}, got {value}")
    return float(value)


def channels_and_positions(kind: str, shape: Shape, channels: int) -> tuple[int, int]:
    """(C, S) of samples of `shape`: (C, …) or, flat, C channels of S neighbouring features each.

    Raises:
        ArgumentError: there are not `channels` channels.
    """
    features = math.prod(shape)
    if shape[0] != channels and (len(shape) > 1 or features % channels):
        arrive = f"{features} features" if len(shape) == 1 else f"samples of shape {shape}"
        raise ArgumentError(f"{kind} expects {channels} channels, but {arrive} arrive")
    return channels, features // channels
