"""Layers: immutable descriptions with torch.nn's names and argument order; the state lives in the network."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, ArgumentTypeError
from ..ranges import NON_NEGATIVE, Range
from .init import Initialiser, as_initialiser

UNIT = Range(0.0, 1.0)


@dataclass(frozen=True)
class Layer:
    """Base of all layers. The same object may appear in several networks, or several times in one."""

    kind: ClassVar[str] = ""

    def options(self) -> dict[str, float]:
        """The numbers that the core builds the layer from."""
        return {f.name: float(getattr(self, f.name)) for f in fields(self)}

    def start(
        self, shapes: dict[str, tuple[int, ...]], init: Initialiser, rng: np.random.Generator
    ) -> dict[str, NDArray[np.float64]]:
        """First values of the layer's parameters, by name and in their shapes, in float64.

        Args:
            shapes: {name: shape} of the parameters that the core gave the layer.
            init: the network's initialiser.
            rng: where every draw comes from.
        """
        return {}


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

    def start(
        self, shapes: dict[str, tuple[int, ...]], init: Initialiser, rng: np.random.Generator
    ) -> dict[str, NDArray[np.float64]]:
        """W, then b, by the layer's own initialiser or the network's."""
        chosen = init if self.init is None else as_initialiser(self.init)
        values = {"weight": chosen.weight(shapes["weight"], rng)}
        if self.bias:
            values["bias"] = chosen.bias(self.out_features, self.in_features, rng)
        return values


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


@dataclass(frozen=True)
class _Norm(Layer):
    """What the normalisations share: γ starts at 1, β at 0."""

    def start(
        self, shapes: dict[str, tuple[int, ...]], init: Initialiser, rng: np.random.Generator
    ) -> dict[str, NDArray[np.float64]]:
        """γ = 1, β = 0."""
        return {name: np.full(shape, float(name == "weight")) for name, shape in shapes.items()}


@dataclass(frozen=True)
class LayerNorm(_Norm):
    """h = (a − μ)/√(σ² + eps)·γ + β over the features of each sample, as torch.nn.LayerNorm (1607.06450).

    Args:
        features: number of input features.
        eps: ≥ 0, added to the biased variance.
        affine: whether there are γ ("weight") and β ("bias"), (features,), which start at 1 and 0.
    """

    features: int
    eps: float = 1e-5
    affine: bool = True
    kind: ClassVar[str] = "LayerNorm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", _size("features", self.features))
        object.__setattr__(self, "eps", NON_NEGATIVE.check("eps", self.eps))
        object.__setattr__(self, "affine", bool(self.affine))


@dataclass(frozen=True)
class RMSNorm(_Norm):
    """h = a/√(mean(a²) + eps)·γ over the features of each sample, as torch.nn.RMSNorm (1910.07467).

    Args:
        features: number of input features.
        eps: ≥ 0; None is the spacing of numbers at 1 in the network's dtype, as PyTorch.
        affine: whether there is a γ ("weight"), (features,), which starts at 1.
    """

    features: int
    eps: float | None = None
    affine: bool = True
    kind: ClassVar[str] = "RMSNorm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", _size("features", self.features))
        if self.eps is not None:
            object.__setattr__(self, "eps", NON_NEGATIVE.check("eps", self.eps))
        object.__setattr__(self, "affine", bool(self.affine))

    def options(self) -> dict[str, float]:
        """The numbers that the core builds the layer from."""
        eps = -1.0 if self.eps is None else self.eps
        return {"features": float(self.features), "eps": eps, "affine": float(self.affine)}


@dataclass(frozen=True)
class GroupNorm(_Norm):
    """LayerNorm over each group of neighbouring channels of a sample, as torch.nn.GroupNorm (1803.08494).

    A sample's features are its channels one after the other, each with the same number of positions. As many
    groups as channels is instance normalisation (1607.08022).

    Args:
        groups: groups of channels; divides `channels`.
        channels: channels of a sample; divides its number of features.
        eps: ≥ 0, added to the biased variance.
        affine: whether there are γ ("weight") and β ("bias"), (channels,), which start at 1 and 0.
    """

    groups: int
    channels: int
    eps: float = 1e-5
    affine: bool = True
    kind: ClassVar[str] = "GroupNorm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", _size("groups", self.groups))
        object.__setattr__(self, "channels", _size("channels", self.channels))
        if self.channels % self.groups:
            raise ArgumentError(f"`groups` must divide the {self.channels} channels, got {self.groups}")
        object.__setattr__(self, "eps", NON_NEGATIVE.check("eps", self.eps))
        object.__setattr__(self, "affine", bool(self.affine))


@dataclass(frozen=True)
class BatchNorm(_Norm):
    """h = (a − μ)/√(σ² + eps)·γ + β per channel, as torch.nn.BatchNorm1d and 2d (1502.03167).

    In training μ and σ² are those of the batch, so that every output depends on all samples; derivatives of both
    orders go through them. In evaluation they are the running statistics ("running_mean", "running_var"), which
    every training step moves. A sample's features are its channels one after the other, each with the same number
    of positions.

    Args:
        channels: channels of a sample; divides its number of features.
        eps: ≥ 0, added to the biased variance.
        momentum: weight of the new batch in the running statistics, as PyTorch (the lecture's p, the weight of the
            old value, is 1 − momentum); None: the average over all batches. The running variance is the unbiased.
        affine: whether there are γ ("weight") and β ("bias"), (channels,), which start at 1 and 0.
    """

    channels: int
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    kind: ClassVar[str] = "BatchNorm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", _size("channels", self.channels))
        object.__setattr__(self, "eps", NON_NEGATIVE.check("eps", self.eps))
        if self.momentum is not None:
            object.__setattr__(self, "momentum", UNIT.check("momentum", self.momentum))
        object.__setattr__(self, "affine", bool(self.affine))

    def options(self) -> dict[str, float]:
        """The numbers that the core builds the layer from."""
        share = -1.0 if self.momentum is None else self.momentum
        return {"channels": float(self.channels), "eps": self.eps, "momentum": share, "affine": float(self.affine)}


_ACTIVATIONS = (ReLU, LeakyReLU, ELU, GELU, SiLU, Tanh, Sigmoid, Softplus, Identity)

# Every layer that a saved network may name.
KINDS: dict[str, type[Layer]] = {
    layer.kind: layer for layer in (Linear, BatchNorm, LayerNorm, RMSNorm, GroupNorm, *_ACTIVATIONS)
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
