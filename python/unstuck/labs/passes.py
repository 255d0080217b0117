"""Forward and backward passes of a network in NumPy and `us.norm`, with the gradient at every layer.

The engine's own passes keep to themselves what the labs on normalisation show: the values and gradients between two
layers while the statistics are the batch's, and what another normalisation would do. Equal to the engine where both
can be asked, which a test asserts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import norm
from ..nn import BatchNorm, Linear, Network, ReLU, Sigmoid

Array = NDArray[Any]
Back = Callable[[Array], tuple[Array, Array, Array]]  # ∂L/∂y → the derivatives by x, γ and β
Normalise = Callable[[int, Array, Array, Array], tuple[Array, Back]]  # (layer, x, γ, β) → y and its backward pass


@dataclass(frozen=True)
class Trace:
    """What one forward pass leaves behind.

    Attributes:
        net: the network.
        theta: its parameters (n,).
        values: the input of every layer, (N, width) each, and last the output.
        backs: the backward passes of the normalisations, by layer.
    """

    net: Network
    theta: Array
    values: list[Array]
    backs: dict[int, Back]


def forward(
    net: Network, theta: Array, X: Array, *, training: bool = True, normalise: Normalise | None = None
) -> Trace:
    """All values of the network of Linear, ReLU, Sigmoid and affine BatchNorm layers at `theta` for samples X (N, d).

    Args:
        net: the network.
        theta: its parameters (n,).
        X: the samples.
        training: normalise with the statistics of X; else with the running ones.
        normalise: done instead of every batch normalisation.
    """
    chosen = normalise or batch_normalisation(net, training)
    found = Trace(net, theta, [X], {})
    for i, layer in enumerate(net.layers):
        a, own = found.values[-1], parameters(net, theta, i)
        if isinstance(layer, Linear):
            y = a @ own["weight"].T + own.get("bias", 0.0)
        elif isinstance(layer, BatchNorm):
            y, found.backs[i] = chosen(i, a, own["weight"], own["bias"])
        elif isinstance(layer, ReLU):
            y = np.maximum(a, 0.0)
        elif isinstance(layer, Sigmoid):
            y = 1.0 / (1.0 + np.exp(-np.clip(a, -80.0, 80.0)))
        else:
            raise NotImplementedError(f"layer {i}: {layer.kind}")
        found.values.append(y)
    return found


def batch_normalisation(net: Network, training: bool) -> Normalise:
    """What the network's own BatchNorm layers do."""

    def normalise(i: int, x: Array, gamma: Array, beta: Array) -> tuple[Array, Back]:
        layer = net.layers[i]
        assert isinstance(layer, BatchNorm)
        mean, variance = (None, None) if training else running(net, i)
        y, cache = norm.batch_norm_forward(x, gamma, beta, eps=layer.eps, mean=mean, variance=variance)

        def back(d_y: Array) -> tuple[Array, Array, Array]:
            d_x, d_gamma, d_beta = norm.batch_norm_backward(d_y.astype(x.dtype), cache)
            assert d_beta is not None
            return d_x, d_gamma, d_beta

        return y, back

    return normalise


def backward(trace: Trace, d_output: Array) -> tuple[Array, list[Array]]:
    """(∂L/∂θ (n,), the derivatives by every entry of `trace.values`) from the derivative by the output."""
    gradient = np.zeros_like(trace.theta)
    deltas = [d_output]
    for i in reversed(range(len(trace.net.layers))):
        layer, a, delta = trace.net.layers[i], trace.values[i], deltas[-1]
        own = parameters(trace.net, gradient, i)  # views: writing them fills the gradient
        if isinstance(layer, Linear):
            own["weight"][:] = delta.T @ a
            if layer.bias:
                own["bias"][:] = delta.sum(axis=0)
            delta = delta @ parameters(trace.net, trace.theta, i)["weight"]
        elif isinstance(layer, BatchNorm):
            delta, own["weight"][:], own["bias"][:] = trace.backs[i](delta)
        elif isinstance(layer, ReLU):
            delta = delta * (a > 0.0)
        else:
            y = trace.values[i + 1]
            delta = delta * y * (1.0 - y)
        deltas.append(delta)
    return gradient, deltas[::-1]


def cross_entropy(logits: Array, labels: Array) -> tuple[float, Array]:
    """(mean −ln p of the labels, its derivative by the logits)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    weights = np.exp(shifted)
    total = weights.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    d_logits = weights / total
    d_logits[rows, labels] -= 1.0
    return float(np.mean(np.log(total[:, 0]) - shifted[rows, labels])), d_logits / len(labels)


def parameters(net: Network, theta: Array, layer: int) -> dict[str, Array]:
    """Views of one layer's parameters within θ, by name and in their shapes."""
    return _named(net.blocks, theta, layer)


def running(net: Network, layer: int) -> tuple[Array, Array]:
    """Running mean and variance of a BatchNorm."""
    held = _named(net.buffer_blocks, net.buffers, layer)
    return held["running_mean"], held["running_var"]


def _named(blocks: Any, vector: Array, layer: int) -> dict[str, Array]:
    start = f"{layer}."
    return {
        name.removeprefix(start): vector[where].reshape(shape)
        for name, where, shape in blocks
        if name.startswith(start)
    }
