"""Losses: immutable descriptions; reductions are PyTorch's "mean"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import ArgumentError
from ..real_array import real_array
from .layer import number


@dataclass(frozen=True)
class Loss:
    """Base of all losses; with sample weights wᵢ the mean over samples is Σ wᵢ·ℓᵢ / Σ wᵢ.

    Every loss is bounded below by zero.
    """

    kind: ClassVar[str] = ""

    def options(self) -> dict[str, float]:
        """The numbers that the core builds the loss from."""
        return {}

    def class_weights(self) -> list[float]:
        """Weights per class; empty where there are none."""
        return []


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Softmax cross-entropy on integer labels (N,), as torch.nn.CrossEntropyLoss; logits (N, C).

    Args:
        label_smoothing: ε in [0, 1): the target is (1 − ε) on the label and ε/C on every class.
        class_weight: C non-negative numbers; the mean then divides by Σ wᵢ·c_yᵢ.
    """

    label_smoothing: float = 0.0
    class_weight: Any = None
    kind: ClassVar[str] = "CrossEntropy"

    def __post_init__(self) -> None:
        smoothing = number("label_smoothing", self.label_smoothing)
        if not 0.0 <= smoothing < 1.0:
            raise ArgumentError(f"`label_smoothing` must be in [0, 1), got {smoothing}")
        object.__setattr__(self, "label_smoothing", smoothing)
        if self.class_weight is not None:
            weights = real_array(self.class_weight, "class_weight")
            if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
                raise ArgumentError(
                    f"`class_weight` must be one finite non-negative number per class, "
                    f"not all zero, got {self.class_weight!r}"
                )
            object.__setattr__(self, "class_weight", tuple(float(w) for w in weights))

    def options(self) -> dict[str, float]:
        """The numbers that the core builds the loss from."""
        return {"label_smoothing": self.label_smoothing}

    def class_weights(self) -> list[float]:
        """Weights per class; empty where there are none."""
        return list(self.class_weight or ())


@dataclass(frozen=True)
class MSE(Loss):
    """(z − y)², mean over all elements, as torch.nn.MSELoss."""

    kind: ClassVar[str] = "MSE"


@dataclass(frozen=True)
class BCEWithLogits(Loss):
    """Binary cross-entropy of σ(z) with targets in [0, 1], mean over all elements, as torch.nn.BCEWithLogitsLoss."""

    kind: ClassVar[str] = "BCEWithLogits"


@dataclass(frozen=True)
class Huber(Loss):
    """½e² for |e| < delta, delta·(|e| − ½delta) else, e = z − y; mean over all elements, as torch.nn.HuberLoss."""

    delta: float = 1.0
    kind: ClassVar[str] = "Huber"

    def __post_init__(self) -> None:
        object.__setattr__(self, "delta", number("delta", self.delta, 0.0))

    def options(self) -> dict[str, float]:
        """The numbers that the core builds the loss from."""
        return {"delta": self.delta}
