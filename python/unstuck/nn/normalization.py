"""Normalisations of each sample: over its features, its last axes, or groups of its channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..ranges import FLAG, NON_NEGATIVE
from .init import Initialiser
from .layer import Layer, Shape, channels_and_positions, size


@dataclass(frozen=True)
class Norm(Layer):
    """What the normalisations share: γ starts at 1, β at 0, and samples keep their shape."""

    def start(
        self, shapes: dict[str, Shape], init: Initialiser, rng: np.random.Generator
    ) -> dict[str, NDArray[np.float64]]:
        """γ = 1, β = 0."""
        return {name: np.full(shape, float(name == "weight")) for name, shape in shapes.items()}


@dataclass(frozen=True)
class _TrailingNorm(Norm):
    """A normalisation over the last axes of a sample."""

    features: int | Shape
    eps: float | None = 1e-5
    affine: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", _extents(self.features))
        object.__setattr__(self, "affine", bool(FLAG.check("affine", self.affine)))

    def lower(self, shape: Shape) -> tuple[dict[str, float], Shape]:
        """Samples keep their shape."""
        last = (self.features,) if isinstance(self.features, int) else self.features
        if shape[max(0, len(shape) - len(last)) :] != last and math.prod(shape) != self.features:
            arrive = f"{shape[0]} arrive" if len(shape) == 1 else f"samples of shape {shape} arrive"
            raise ArgumentError(f"{self.kind} expects {self.features} features, but {arrive}")
        eps = -1.0 if self.eps is None else self.eps
        extents = {f"extent_{i}": float(extent) for i, extent in enumerate(last)}
        return {"eps": eps, "affine": float(self.affine), "axes": float(len(last)), **extents}, shape


def _extents(features: Any) -> int | Shape:
    if isinstance(features, (tuple, list)):
        if not features:
            raise ArgumentError("`features` must name at least one axis, got ()")
        return tuple(size("features", extent) for extent in features)
    return size("features", features)


@dataclass(frozen=True)
class LayerNorm(_TrailingNorm):
    """h = (a − μ)/√(σ² + eps)·γ + β over the features of each sample, as torch.nn.LayerNorm (1607.06450).

    Args:
        features: extent of the last axis, or the extents of the last axes, as torch's normalized_shape: samples
            (C, H, W) fit LayerNorm(W), LayerNorm((H, W)) and LayerNorm((C, H, W)). One number may also be that of
            all features of a sample, whatever its shape.
        eps: ≥ 0, added to the biased variance.
        affine: whether there are γ ("weight") and β ("bias") of the shape `features`, which start at 1 and 0.
    """

    eps: float = 1e-5
    kind: ClassVar[str] = "LayerNorm"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "eps", NON_NEGATIVE.check("eps", self.eps))


@dataclass(frozen=True)
class RMSNorm(_TrailingNorm):
    """h = a/√(mean(a²) + eps)·γ over the features of each sample, as torch.nn.RMSNorm (1910.07467).

    Args:
        features: as in LayerNorm.
        eps: ≥ 0; None is the spacing of numbers at 1 in the network's dtype, as PyTorch.
        affine: whether there is a γ ("weight") of the shape `features`, which starts at 1.
    """

    eps: float | None = None
    kind: ClassVar[str] = "RMSNorm"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps is not None:
            object.__setattr__(self, "eps", NON_NEGATIVE.check("eps", self.eps))


@dataclass(frozen=True)
class GroupNorm(Norm):
    """LayerNorm over each group of neighbouring channels of a sample, as torch.nn.GroupNorm (1803.08494).

    A sample's features are its channels one after the other, each with the same number of positions. As many
    groups as channels is instance normalisation, one group is LayerNorm with γ and β by channel.

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
        object.__setattr__(self, "affine", bool(FLAG.check("affine", self.affine)))

    def lower(self, shape: Shape) -> tuple[dict[str, float], Shape]:
        """Samples keep their shape."""
        channels_and_positions(self.kind, shape, self.channels)
        return self.options(), shape


@dataclass(frozen=True)
class InstanceNorm(Norm):
    """h = (a − μ)/√(σ² + eps) over the positions of each channel of a sample (1607.08022).

    As torch.nn.InstanceNorm1d and 2d with their defaults; the core sees it as GroupNorm with a group per channel.

    Args:
        channels: channels of a sample; each needs more than one position.
        eps: ≥ 0, added to the biased variance.
        affine: whether there are γ ("weight") and β ("bias"), (channels,), which start at 1 and 0.
    """

    channels: int
    eps: float = 1e-5
    affine: bool = False
    kind: ClassVar[str] = "InstanceNorm"
    core_kind: ClassVar[str] = "GroupNorm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", size("channels", self.channels))
        object.__setattr__(self, "eps", NON_NEGATIVE.check("eps", self.eps))
        object.__setattr__(self, "affine", bool(FLAG.check("affine", self.affine)))

    def lower(self, shape: Shape) -> tuple[dict[str, float], Shape]:
        """Samples keep their shape."""
        channels, positions = channels_and_positions(self.kind, shape, self.channels)
        if positions < 2:
            raise ArgumentError(
                f"{self.kind} needs more than one position per channel, but samples of shape {shape} arrive: "
                "the variance of one value is 0 whatever it is"
            )
        return {**self.options(), "groups": float(channels)}, shape
