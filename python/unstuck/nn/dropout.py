"""Dropout: training with a random part of the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..ranges import Range
from .layer import Layer, size

if TYPE_CHECKING:
    from .wiring import Signal, Wiring

_SHARE = Range(0.0, 1.0, open_high=True)


@dataclass(frozen=True)
class Dropout(Layer):
    """In training each value is dropped with probability p, the others are scaled by 1/(1 − p), as torch.nn.Dropout.

    Which are dropped follows from the seed, the number of training steps so far, the sample's place in its batch
    and the feature: runs repeat, and in mode="train" every instrument sees one fixed function, the mask of the next
    step. In evaluation nothing is dropped.

    Args:
        p: in [0, 1).
        seed: of the masks; layers of one network draw different ones from the same seed.
    """

    p: float = 0.5
    seed: int = 0
    kind: ClassVar[str] = "Dropout"

    def __post_init__(self) -> None:
        object.__setattr__(self, "p", _SHARE.check("p", self.p))
        object.__setattr__(self, "seed", size("seed", self.seed, 0))

    def wire(self, wiring: Wiring, name: str, signal: Signal) -> Signal:
        """With its place in the network, which sets its masks apart."""
        options = {**self.options(), "stream": float(len(wiring.nodes))}
        return wiring.add(name, self, options, signal, signal.shape)
