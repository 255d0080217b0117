"""Normalisations over the batch: BatchNorm with its variants, and batch renormalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..ranges import FLAG, FRACTION, NON_NEGATIVE, Choice, Range
from .init import Initialiser
from .layer import Shape, channels_and_positions, number, size
from .normalization import Norm

DEFAULT_MOMENTUM = 0.1
_NORM = Choice("l2", "l1", "linf", "none")  # in the order of the core's Spread
_AVERAGE = Choice("variance", "std")
_AT_LEAST_ONE = Range(low=1.0)


@dataclass(frozen=True)
class _BatchLayer(Norm):
    """What both share: channels, ε, the weights in the running statistics, and where γ starts."""

    channels: int
    eps: float = 1e-5
    momentum: float | None = DEFAULT_MOMENTUM
    affine: bool = True
    keep: float | None = None
    gamma: float = 1.0

    def __post_init__(self) -> None:
        # a default is known by its identity: 0.1 that someone has written down is a choice, too
        chosen = self.momentum is not DEFAULT_MOMENTUM
        object.__setattr__(self, "channels", size("channels", self.channels))
        object.__setattr__(self, "eps", NON_NEGATIVE.check("eps", self.eps))
        object.__setattr__(self, "affine", bool(FLAG.check("affine", self.affine)))
        object.__setattr__(self, "gamma", number("gamma", self.gamma))
        if self.momentum is not None:
            object.__setattr__(self, "momentum", FRACTION.check("momentum", self.momentum))
        if self.keep is not None:
            object.__setattr__(self, "keep", FRACTION.check("keep", self.keep))
            if chosen and self.momentum != 1.0 - self.keep:
                raise ArgumentError(
                    f"`keep` and `momentum` name the same choice, momentum = 1 − keep; got {self.keep} and "
                    f"{self.momentum}: give one of them"
                )
            object.__setattr__(self, "momentum", 1.0 - self.keep)
        if self.gamma != 1.0 and not self.affine:
            raise ArgumentError(f"`gamma` is where γ starts, and affine=False has none, got {self.gamma}: leave it out")

    def start(
        self, shapes: dict[str, Shape], init: Initialiser, rng: np.random.Generator
    ) -> dict[str, NDArray[np.float64]]:
        """γ = `gamma`, β = 0."""
        return {name: np.full(shape, self.gamma if name == "weight" else 0.0) for name, shape in shapes.items()}

    def lower(self, shape: Shape) -> tuple[dict[str, float], Shape]:
        """Samples keep their shape."""
        channels_and_positions(self.kind, shape, self.channels)
        return self.options(), shape

    def options(self) -> dict[str, float]:
        """The numbers that the core builds the layer from."""
        return {
            "channels": float(self.channels),
            "eps": self.eps,
            "momentum": -1.0 if self.momentum is None else self.momentum,
            "affine": float(self.affine),
        }


@dataclass(frozen=True)
class BatchNorm(_BatchLayer):
    """h = (a − μ)/√(σ² + eps)·γ + β per channel, as torch.nn.BatchNorm1d and 2d (1502.03167).

    In training μ and σ² are those of the batch, so that every output depends on all samples; derivatives of both
    orders go through them. In evaluation they are the running statistics ("running_mean", and "running_var",
    "running_std" or "running_scale"), which every training step moves; "batches" counts the steps. A sample's
    features are its channels one after the other, each with the same number of positions.

    Args:
        channels: channels of a sample; divides its number of features.
        eps: ≥ 0, added to the biased variance (with `norm` "l1" and "linf" to what is divided by).
        momentum: weight of the new batch in the running statistics, as PyTorch; None: the average over all batches;
            1: none, the statistics of the last batch (1711.04325).
        affine: whether there are γ ("weight") and β ("bias"), (channels,).
        keep: instead of `momentum`, the weight of the old value, as the lecture's p and Keras: momentum becomes
            1 − keep.
        gamma: where γ starts; 0 for the last norm of a residual branch, which then starts as the identity
            (1706.02677).
        average: "variance": the running statistics are of the unbiased variance, as PyTorch; "std": of σ itself
            (biased), as the lecture.
        track: False: no running statistics, those of the batch in evaluation, too (torch's track_running_stats).
        frozen: True: the running statistics in training, too, which leaves them alone.
        norm: what a − μ is divided by: "l2", √(σ² + eps); "l1", mean|a − μ| + eps; "linf", max|a − μ| + eps (the
            study of 1805.11604); "none", 1: mean-only normalisation (1602.07868), with β but no γ.
        affine_from: training steps before which γ and β are constants: their gradient and their rows of the Hessian
            are 0. (Decoupled weight decay still acts: see unstuck.optim.exclude_vectors.)
    """

    average: Literal["variance", "std"] = "variance"
    track: bool = True
    frozen: bool = False
    norm: Literal["l2", "l1", "linf", "none"] = "l2"
    affine_from: int = 0
    kind: ClassVar[str] = "BatchNorm"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "track", bool(FLAG.check("track", self.track)))
        object.__setattr__(self, "frozen", bool(FLAG.check("frozen", self.frozen)))
        object.__setattr__(self, "affine_from", size("affine_from", self.affine_from, 0))
        _AVERAGE.check("average", self.average)
        _NORM.check("norm", self.norm)
        if self.average != "variance" and self.norm != "l2":
            raise ArgumentError(f"`average` is a choice for norm 'l2' only, got {self.average!r} with {self.norm!r}")
        if self.norm == "none" and self.gamma != 1.0:
            raise ArgumentError(f"`gamma` is where γ starts, and norm 'none' has none, got {self.gamma}: leave it out")
        if self.affine_from and not self.affine:
            raise ArgumentError(
                f"`affine_from` is when γ and β begin to move, and affine=False has none, got {self.affine_from}: "
                "leave it out"
            )
        if not self.track and (self.frozen or self.affine_from):
            given = "frozen" if self.frozen else "affine_from"
            raise ArgumentError(f"`{given}` needs running statistics and their count of steps; leave `track` True")

    def options(self) -> dict[str, float]:
        """The numbers that the core builds the layer from."""
        return {
            **super().options(),
            "spread": _NORM.check("norm", self.norm),
            "of_deviation": float(self.average == "std"),
            "track": float(self.track),
            "frozen": float(self.frozen),
            "affine_from": float(self.affine_from),
        }


@dataclass(frozen=True)
class BatchRenorm(_BatchLayer):
    """h = γ((a − μ)/σ·r + d) + β per channel: batch normalisation brought near to its running statistics (1702.03275).

    In training μ and σ = √(biased variance + eps) are the batch's, r = σ/σ̄ clipped to [1/r, r]_max and
    d = (μ − μ̄)/σ̄ clipped to ±d_max, with the running statistics from before the step ("running_mean",
    "running_std", of σ as in the paper). r and d are constants of a pass: no derivative goes through them, so
    gradients and Hessian products are those of the surface with r and d held. In evaluation h = γ(a − μ̄)/σ̄ + β.

    The clipping follows the paper's schedule by the buffer "batches", the training steps so far: (1, 0), which is
    batch normalisation, until `warm_up`, then linear up to `r_max` at step `r_end` and `d_max` at step `d_end`.

    Args:
        channels: channels of a sample; divides its number of features.
        eps: ≥ 0, added to the biased variance.
        momentum: weight of the new batch in the running statistics; None: the average over all batches.
        affine: whether there are γ ("weight") and β ("bias"), (channels,), which start at `gamma` and 0.
        keep: instead of `momentum`, the weight of the old value: momentum = 1 − keep.
        gamma: where γ starts.
        r_max: ≥ 1, the largest r in the end.
        d_max: ≥ 0, the largest |d| in the end.
        warm_up: training steps without correction; 0 with `r_end` = `d_end` = 0 is no schedule.
        r_end: step at which r_max is reached, ≥ warm_up.
        d_end: step at which d_max is reached, ≥ warm_up.
    """

    r_max: float = 3.0
    d_max: float = 5.0
    warm_up: int = 5_000
    r_end: int = 40_000
    d_end: int = 25_000
    kind: ClassVar[str] = "BatchRenorm"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "r_max", _AT_LEAST_ONE.check("r_max", self.r_max))
        object.__setattr__(self, "d_max", NON_NEGATIVE.check("d_max", self.d_max))
        for name in ("warm_up", "r_end", "d_end"):
            object.__setattr__(self, name, size(name, getattr(self, name), 0))
        for name in ("r_end", "d_end"):
            if getattr(self, name) < self.warm_up:
                raise ArgumentError(
                    f"`{name}` must not lie before `warm_up`, step {self.warm_up}, got {getattr(self, name)}"
                )

    def options(self) -> dict[str, float]:
        """The numbers that the core builds the layer from."""
        limits = {name: float(getattr(self, name)) for name in ("r_max", "d_max", "warm_up", "r_end", "d_end")}
        return {**super().options(), **limits}
