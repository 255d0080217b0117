"""Layers: immutable descriptions with torch.nn's names and argument order; the state lives in the network."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from ..errors import ArgumentError, ArgumentTypeError
from .init import Initialiser, as_initialiser


@dataclass(frozen=True)
class Layer:
    """Base of all layers. The same object may appear in several networks, or several times in one."""

    kind: ClassVar[str] = ""

    def options(self) -> dict[str, float]:
        """The numbers that the core builds the layer from."""
        return {f.name: float(getattr(self, f.name)) for f in fields(self)}


def _size(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ArgumentTypeError(f"`{name}` must be an integer, got {value!r}")
    if not 1 <= value < 2**31:
        raise ArgumentError(f"`{name}` must be in [1, 2^31), got {value}")
    return int(value)


def _number(name: str, value: Any, low: float = -np.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ArgumentTypeError(f"`{name}` must be a number, got {value!r}")
    if not (np.isfinite(value) and value > low):
        raise ArgumentError(f"`{name}` must be finite{'' if low == -np.inf else f' and above {low:g}'}, got {value}")
    return float(value)


@dataclass(frozen=True)
class Linear(Layer):
    """h = a·Wᵀ + b, with W (out_features, in_features) and b (out_features,), as torch.nn.Linear.

    Args:
        in_features: features of each input row.
        out_features: features of each output row.
        bias: whether there is a b.
        init: how W and b start: a name or Initialiser of `unstuck.nn.init`; None takes the network's.
    """

    in_features: int
    out_features: int
    bias: bool = True
    init: Initialiser | str | None = None
    kind: ClassVar[str] = "Linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "in_features", _size("in_features", self.in_features))
        object.__setattr__(self, "out_features", _size("out_features", self.out_features))
        object.__setattr__(self, "bias", bool(self.bias))
        if self.init is not None:
            object.__setattr__(self, "init", as_initialiser(self.init))

    def options(self) -> dict[str, float]:
        """The numbers that the core builds the layer from."""
        return {"in": float(self.in_features), "out": float(self.out_features), "bias": float(self.bias)}


@dataclass(frozen=True)
class ReLU(Layer):
    """h = max(z, 0); slope 0 at z = 0, as PyTorch."""

    kind: ClassVar[str] = "ReLU"


@dataclass(frozen=True)
class LeakyReLU(Layer):
    """h = z for z > 0, negative_slope·z else."""

    negative_slope: float = 0.01
    kind: ClassVar[str] = "LeakyReLU"

    def __post_init__(self) -> None:
        object.__setattr__(self, "negative_slope", _number("negative_slope", self.negative_slope))


@dataclass(frozen=True)
class ELU(Layer):
    """h = z for z > 0, alpha·(eᶻ − 1) else."""

    alpha: float = 1.0
    kind: ClassVar[str] = "ELU"

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", _number("alpha", self.alpha))


@dataclass(frozen=True)
class GELU(Layer):
    """h = z·Φ(z), or with approximate="tanh" h = ½z(1 + tanh(√(2/π)(z + 0.044715z³))), as PyTorch."""

    approximate: str = "none"
    kind: ClassVar[str] = "GELU"

    def __post_init__(self) -> None:
        if self.approximate not in ("none", "tanh"):
            raise ArgumentError(f'`approximate` must be "none" or "tanh", got {self.approximate!r}')

    def options(self) -> dict[str, float]:
        """The numbers that the core builds the layer from."""
        return {"tanh": float(self.approximate == "tanh")}


@dataclass(frozen=True)
class SiLU(Layer):
    """h = z·σ(z)."""

    kind: ClassVar[str] = "SiLU"


@dataclass(frozen=True)
class Tanh(Layer):
    """h = tanh(z)."""

    kind: ClassVar[str] = "Tanh"


@dataclass(frozen=True)
class Sigmoid(Layer):
    """h = σ(z) = 1/(1 + e^−z)."""

    kind: ClassVar[str] = "Sigmoid"


@dataclass(frozen=True)
class Softplus(Layer):
    """h = ln(1 + e^(beta·z))/beta, and z itself where beta·z > threshold, as PyTorch."""

    beta: float = 1.0
    threshold: float = 20.0
    kind: ClassVar[str] = "Softplus"

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", _number("beta", self.beta, 0.0))
        object.__setattr__(self, "threshold", _number("threshold", self.threshold))


@dataclass(frozen=True)
class Identity(Layer):
    """h = z."""

    kind: ClassVar[str] = "Identity"


# Every layer that a saved network may name.
KINDS: dict[str, type[Layer]] = {
    layer.kind: layer for layer in (Linear, ReLU, LeakyReLU, ELU, GELU, SiLU, Tanh, Sigmoid, Softplus, Identity)
}


def describe(layer: Layer) -> dict[str, Any]:
    """A layer as plain JSON-able values."""
    values: dict[str, Any] = {"kind": layer.kind}
    for f in fields(layer):
        value = getattr(layer, f.name)
        values[f.name] = vars(value).copy() if isinstance(value, Initialiser) else value
    return values


def restore(values: dict[str, Any]) -> Layer:
    """The layer that `describe` described.

    Raises:
        ArgumentError: unknown kind or fields.
    """
    arguments = dict(values)
    kind = KINDS.get(str(arguments.pop("kind", None)))
    if kind is None or set(arguments) - {f.name for f in fields(kind)}:
        raise ArgumentError(f"unknown layer {str(values)[:80]!r}")
    if isinstance(arguments.get("init"), dict):
        arguments["init"] = Initialiser(**arguments["init"])
    return kind(**arguments)
