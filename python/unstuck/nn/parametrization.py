"""Parametrizations: layers whose weight is a function of other parameters, WeightNorm and SpectralNorm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, ArgumentTypeError
from ..ranges import NON_NEGATIVE
from ..real_array import real_array
from .containers import Residual, Sequential
from .init import Initialiser
from .layer import Layer, Shape, size

if TYPE_CHECKING:
    from .network import Network
    from .wiring import Node, Signal, Wiring

_CONSTANT = 16.0  # spacings of the largest magnitude: a smaller spread is rounding


@dataclass(frozen=True)
class _Parametrized(Layer):
    """A layer with something in place of its weight; everything else is the layer's."""

    layer: Layer

    def __post_init__(self) -> None:
        if not isinstance(self.layer, Layer):
            raise ArgumentTypeError(
                f"`layer` of {self.kind} must be a layer of unstuck.nn, got {type(self.layer).__name__}"
            )
        if isinstance(self.layer, (Sequential, Residual)):
            raise ArgumentError(
                f"{self.kind} takes one layer with a weight, got {self.layer.kind}; wrap each layer inside"
            )
        if isinstance(self.layer, _Parametrized):
            raise ArgumentError(f"{self.kind} of {self.layer.kind} is not possible: one parametrization per weight")

    def _numbers(self) -> dict[str, float]:
        raise NotImplementedError

    def wire(self, wiring: Wiring, name: str, signal: Signal) -> Signal:
        """The layer's own node, with a parametrization."""
        before = len(wiring.nodes)
        out = self.layer.wire(wiring, name, signal)
        if len(wiring.nodes) != before + 1:
            raise ArgumentError(f"{self.kind} takes one layer with a weight, got {self.layer.kind}")
        wiring.nodes[-1] = replace(wiring.nodes[-1], layer=self, parametrization=(self.kind, self._numbers()))
        return out

    def _start(
        self, weight: Shape, shapes: dict[str, Shape], init: Initialiser, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        """(W, everything else) as the layer starts them."""
        own = {name: shape for name, shape in shapes.items() if not name.startswith("weight_")}
        values = self.layer.start({"weight": weight, **own}, init, rng)
        return values.pop("weight"), values


@dataclass(frozen=True)
class WeightNorm(_Parametrized):
    """`layer` with W = g·V/‖V‖, as torch.nn.utils.weight_norm (1602.07868).

    The norm is taken over all axes of the weight but `dim`; in place of "weight" there are "weight_g" and "weight_v",
    behind the layer's other parameters. W starts as the layer's own weight; see `initialise_from_data`. Where a norm
    is 0, W is NaN, as in PyTorch.

    Args:
        layer: a layer with a weight of two axes or more, e.g. Linear.
        dim: the axis with one g each: 0, the outputs; None: one g in all.
    """

    dim: int | None = 0
    kind: ClassVar[str] = "WeightNorm"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim is not None:
            object.__setattr__(self, "dim", size("dim", self.dim, 0))

    def _numbers(self) -> dict[str, float]:
        return {"dim": -1.0 if self.dim is None else float(self.dim)}

    def start(
        self, shapes: dict[str, Shape], init: Initialiser, rng: np.random.Generator
    ) -> dict[str, NDArray[np.float64]]:
        """V as the layer's weight, g = ‖V‖."""
        weight, values = self._start(shapes["weight_v"], shapes, init, rng)
        axes = tuple(axis for axis in range(weight.ndim) if axis != self.dim)
        norm = np.sqrt(np.sum(weight**2, axis=axes)).reshape(shapes["weight_g"])
        if not (norm > 0).all():
            raise ArgumentError("WeightNorm needs a direction, but a weight starts at 0; choose another `init`")
        return {**values, "weight_g": norm, "weight_v": weight}


@dataclass(frozen=True)
class SpectralNorm(_Parametrized):
    """`layer` with W = V/σ, σ = uᵀVv its largest singular value, as torch.nn.utils.spectral_norm (1802.05957).

    V is seen as a matrix (outputs, everything else) and is the parameter "weight_orig", behind the layer's others. u
    and v are buffers ("weight_u", "weight_v") that start with 16 power iterations and make one more after every
    training step, so that instruments see the function of the next step; to all derivatives they are constants, as in
    PyTorch. While V moves, σ is an estimate from below: where two singular values cross, or where `theta` is put
    somewhere else by hand, it takes some dozens of steps to follow.

    Args:
        layer: a layer with a weight of two axes or more, e.g. Linear.
        iterations: power iterations per training step.
        eps: smallest norm that u and v are divided by.
    """

    iterations: int = 1
    eps: float = 1e-12
    kind: ClassVar[str] = "SpectralNorm"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "iterations", size("iterations", self.iterations))
        object.__setattr__(self, "eps", NON_NEGATIVE.check("eps", self.eps))

    def _numbers(self) -> dict[str, float]:
        return {"iterations": float(self.iterations), "eps": self.eps}

    def start(
        self, shapes: dict[str, Shape], init: Initialiser, rng: np.random.Generator
    ) -> dict[str, NDArray[np.float64]]:
        """V as the layer's weight."""
        weight, values = self._start(shapes["weight_orig"], shapes, init, rng)
        if not weight.any():
            raise ArgumentError("SpectralNorm divides by σ, but the weight starts at 0; choose another `init`")
        return {**values, "weight_orig": weight}

    def start_buffers(self, shapes: dict[str, Shape], rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """A random u; the network's first power iterations make v of it."""
        return {"weight_u": rng.standard_normal(shapes["weight_u"])}


def initialise_from_data(net: Network, X: Any) -> None:
    """Data-dependent initialisation of WeightNorm (1602.07868, section 3).

    Layer by layer, g and the bias of every WeightNorm layer are set so that each of its outputs (each channel, over
    all positions) has mean 0 and variance 1 over X. V stays, and so does every other layer. BatchNorm and Dropout
    act as in training.

    Args:
        net: a network with at least one WeightNorm layer with dim=0 and a bias.
        X: samples (N, *input_shape), one batch.

    Raises:
        ArgumentError: there is no such layer, one lacks a bias or has another `dim`, or an output is constant or not
            finite over X; the message names the layer and the output, and the network is as before.
    """
    wiring: Wiring | None = getattr(net, "_wiring", None)
    if wiring is None:
        raise ArgumentTypeError(f"`net` must be an unstuck.nn.Network, got {type(net).__name__}")
    nodes = [(i, node) for i, node in enumerate(wiring.nodes) if isinstance(node.layer, WeightNorm)]
    if not nodes:
        raise ArgumentError("`net` has no WeightNorm layer to initialise")
    where = {name: at for name, at, _ in net.blocks}
    for _, node in nodes:
        if node.layer.dim != 0 or f"{node.name}.bias" not in where:  # type: ignore[union-attr]
            raise ArgumentError(f"layer {node.name}: WeightNorm must have dim=0 and a bias to be initialised from data")
    samples, theta = real_array(X, "X"), net.theta.copy()
    if not len(samples):
        raise ArgumentError("`X` has no rows; moments need at least two samples")
    for i, node in nodes:
        outputs = net.activations(samples, theta, "train")[i][1]
        mean, std = _moments(node, outputs)
        g, bias = where[f"{node.name}.weight_g"], where[f"{node.name}.bias"]
        theta[g] = theta[g] / std
        theta[bias] = (theta[bias] - mean) / std
    net.theta[:] = theta


def _moments(node: Node, outputs: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(mean, standard deviation) of every channel of a layer's outputs (N, C, …).

    Raises:
        ArgumentError: a channel is constant or not finite.
    """
    axes = (0, *range(2, outputs.ndim))
    with np.errstate(all="ignore"):
        mean = np.asarray(np.mean(outputs, axis=axes, dtype=np.float64))
        std = np.asarray(np.std(outputs, axis=axes, dtype=np.float64))
        spread = _CONSTANT * np.finfo(outputs.dtype).eps * np.abs(outputs).max(axis=axes)
    for j in range(mean.size):
        if not np.isfinite(std[j]):
            raise ArgumentError(f"layer {node.name}: output {j} is not finite over `X`")
        if std[j] <= spread[j]:
            raise ArgumentError(
                f"layer {node.name}: output {j} is constant over `X`, so that no g gives it variance 1; "
                "pass more or other samples"
            )
    return mean, std
