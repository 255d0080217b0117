"""Initialisers: how a layer's weights start, as in torch.nn.init; every draw comes from a given generator.

fan_in is the product of all extents of the weight (out, in, …) but the first, fan_out that of all but the second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, ArgumentTypeError

NAMES = (
    "torch",
    "he_normal",
    "he_uniform",
    "xavier_normal",
    "xavier_uniform",
    "lecun_normal",
    "lecun_uniform",
    "orthogonal",
    "constant",
    "zeros",
)


@dataclass(frozen=True)
class Initialiser:
    """A named way to start a weight matrix.

    Attributes:
        name: one of `NAMES`. "torch" is the default of torch.nn.Linear and Conv2d, U(±1/√fan_in), for weights and
            biases; with every other name biases start at zero ("constant": at the value).
        gain: factor on the standard deviation (for "orthogonal" on the whole matrix).
        value: the number of "constant".

    Standard deviations: he √(2/fan_in) (He 2015), xavier √(2/(fan_in+fan_out)) (Glorot 2010), lecun √(1/fan_in)
    (LeCun 1998). Uniform draws have the same standard deviation.
    """

    name: str
    gain: float = 1.0
    value: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ArgumentError(f"`init` must be one of {', '.join(NAMES)}, got {str(self.name)[:60]!r}")
        for field, number in (("gain", self.gain), ("value", self.value)):
            if not np.isfinite(number):
                raise ArgumentError(f"`{field}` of an initialiser must be finite, got {number}")

    def weight(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
        """A weight of `shape` (out, in, …), in float64."""
        fan_in, fan_out = math.prod(shape[1:]), shape[0] * math.prod(shape[2:])
        if self.name in ("constant", "zeros"):
            return np.full(shape, self.value if self.name == "constant" else 0.0)
        if self.name == "torch":
            return rng.uniform(-1.0, 1.0, shape) * (self.gain / float(np.sqrt(fan_in)))
        if self.name == "orthogonal":
            return self.gain * _orthogonal(shape[0], fan_in, rng).reshape(shape)
        variance = {
            "he": 2.0 / fan_in,
            "xavier": 2.0 / (fan_in + fan_out),
            "lecun": 1.0 / fan_in,
        }[self.name.split("_")[0]]
        std = self.gain * float(np.sqrt(variance))
        if self.name.endswith("uniform"):
            return rng.uniform(-1.0, 1.0, shape) * (float(np.sqrt(3.0)) * std)
        return rng.standard_normal(shape) * std

    def bias(self, size: int, fan_in: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """A bias of `size` numbers, in float64."""
        if self.name == "torch":
            return rng.uniform(-1.0, 1.0, size) * (self.gain / float(np.sqrt(fan_in)))
        return np.full(size, self.value if self.name == "constant" else 0.0)


def _orthogonal(rows: int, columns: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A matrix with orthonormal rows or columns, whichever are fewer, uniformly distributed (Saxe 2013)."""
    normal = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(normal)
    q = q * np.sign(np.where(np.diag(r) == 0.0, 1.0, np.diag(r)))  # makes the distribution uniform (Mezzadri 2007)
    return q if rows >= columns else q.T


def as_initialiser(init: Any) -> Initialiser:
    """An Initialiser from one, or from its name."""
    if isinstance(init, Initialiser):
        return init
    if isinstance(init, str):
        return Initialiser(init)
    raise ArgumentTypeError(f"`init` must be a name or an Initialiser, got {type(init).__name__}")


def constant(value: float) -> Initialiser:
    """Every weight and bias starts at `value`."""
    return Initialiser("constant", value=float(value))


def orthogonal(gain: float = 1.0) -> Initialiser:
    """Weights start as `gain` times a uniformly distributed orthogonal matrix."""
    return Initialiser("orthogonal", gain=float(gain))
