"""Linear: every output is a weighted sum of all features, plus a bias."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..ranges import FLAG
from .init import Initialiser, as_initialiser
from .layer import Layer, Shape, size


@dataclass(frozen=True)
class Linear(Layer):
    """h = a·Wᵀ + b, with W (out_features, in_features) and b (out_features,), as torch.nn.Linear.

    Samples of more than one axis are flattened in C order.

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
        object.__setattr__(self, "in_features", size("in_features", self.in_features))
        object.__setattr__(self, "out_features", size("out_features", self.out_features))
        object.__setattr__(self, "bias", bool(FLAG.check("bias", self.bias)))
        if self.init is not None:
            object.__setattr__(self, "init", as_initialiser(self.init))

    def options(self) -> dict[str, float]:
        """The numbers that the core builds the layer from."""
        return {"in": float(self.in_features), "out": float(self.out_features), "bias": float(self.bias)}

    def lower(self, shape: Shape) -> tuple[dict[str, float], Shape]:
        """Samples of in_features numbers, flattened in C order, become samples of out_features numbers."""
        if math.prod(shape) != self.in_features:
            arrive = f"{shape[0]} arrive" if len(shape) == 1 else f"samples of shape {shape} arrive"
            raise ArgumentError(f"Linear expects {self.in_features} input features, but {arrive}")
        return self.options(), (self.out_features,)

    def start(
        self, shapes: dict[str, Shape], init: Initialiser, rng: np.random.Generator
    ) -> dict[str, NDArray[np.float64]]:
        """W, then b, by the layer's own initialiser or the network's."""
        chosen = init if self.init is None else as_initialiser(self.init)
        values = {"weight": chosen.weight(shapes["weight"], rng)}
        if self.bias:
            values["bias"] = chosen.bias(self.out_features, self.in_features, rng)
        return values
