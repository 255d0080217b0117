"""Activations, elementwise: h = φ(z)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..errors import ArgumentError
from .layer import Layer, number


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
        object.__setattr__(self, "negative_slope", number("negative_slope", self.negative_slope))


@dataclass(frozen=True)
class ELU(Layer):
    """h = z for z > 0, alpha·(eᶻ − 1) else."""

    alpha: float = 1.0
    kind: ClassVar[str] = "ELU"

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", number("alpha", self.alpha))


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
        object.__setattr__(self, "beta", number("beta", self.beta, 0.0))
        object.__setattr__(self, "threshold", number("threshold", self.threshold))


@dataclass(frozen=True)
class Identity(Layer):
    """h = z."""

    kind: ClassVar[str] = "Identity"
