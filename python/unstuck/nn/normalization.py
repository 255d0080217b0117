"""Normalisations: over the batch, or over the features of each sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..ranges import NON_NEGATIVE, Range
from .init import Initialiser
from .layer import Layer, Shape, channels_and_positions, size

UNIT = Range(0.0, 1.0)


@dataclass(frozen=True)
class _Norm(Layer):
    """What the normalisations share: γ starts at 1, β at 0, and samples keep their shape."""

    def lower(self, shape: Shape) -> tuple[dict[str, float], Shape]:
        """Samples keep their shape."""
        self._fit(shape)
        return self.options(), shape

    def _fit(self, shape: Shape) -> None:
        raise NotImplementedError

    def start(
        self, shapes: dict[str, Shape], init: Initialiser, rng: np.random.Generator
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
        object.__setattr__(self, "features", size("features", self.features))
        object.__setattr__(self, "eps", NON_NEGATIVE.check("eps", self.eps))
        object.__setattr__(self, "affine", bool(self.affine))

    def _fit(self, shape: Shape) -> None:
        if math.prod(shape) != self.features:
            raise ArgumentError(f"{self.kind} expects {self.features} features, but {math.prod(shape)} arrive")


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
        object.__setattr__(self, "features", size("features", self.features))
        if self.eps is not None:
            object.__setattr__(self, "eps", NON_NEGATIVE.check("eps", self.eps))
        object.__setattr__(self, "affine", bool(self.affine))

    def options(self) -> dict[str, float]:
        """The numbers that the core builds the layer from."""
        eps = -1.0 if self.eps is None else self.eps
        return {"features": float(self.features), "eps": eps, "affine": float(self.affine)}

    def _fit(self, shape: Shape) -> None:
        if math.prod(shape) != self.features:
            raise ArgumentError(f"{self.kind} expects {self.features} features, but {math.prod(shape)} arrive")


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
        object.__setattr__(self, "groups", size("groups", self.groups))
        object.__setattr__(self, "channels", size("channels", self.channels))
        if self.channels % self.groups:
            raise ArgumentError(f"`groups` must divide the {self.channels} channels, got {self.groups}")
        object.__setattr__(self, "eps", NON_NEGATIVE.check("eps", self.eps))
        object.__setattr__(self, "affine", bool(self.affine))

    def _fit(self, shape: Shape) -> None:
        channels_and_positions(self.kind, shape, self.channels)


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
        object.__setattr__(self, "channels", size("channels", self.channels))
        object.__setattr__(self, "eps", NON_NEGATIVE.check("eps", self.eps))
        if self.momentum is not None:
            object.__setattr__(self, "momentum", UNIT.check("momentum", self.momentum))
        object.__setattr__(self, "affine", bool(self.affine))

    def options(self) -> dict[str, float]:
        """The numbers that the core builds the layer from."""
        share = -1.0 if self.momentum is None else self.momentum
        return {"channels": float(self.channels), "eps": self.eps, "momentum": share, "affine": float(self.affine)}

    def _fit(self, shape: Shape) -> None:
        channels_and_positions(self.kind, shape, self.channels)
