"""Forward and backward passes of a network in NumPy and `us.norm`, with the gradient at every layer.

The engine's own passes keep to themselves what the labs on normalisation show: the values and gradients between two
layers while the statistics are the batch's, and what noise after a normalisation does. Equal to the engine where both
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
Noise = Callable[[int, tuple[int, ...]], tuple[Array, Array]]  # (layer, shape) → factors and shifts of that shape


@dataclass(frozen=True)
class Trace:
    """What one forward pass leaves behind.

    Attributes:
        net: the network.
        theta: its parameters (n,).
        values: the input of every layer, (N, width) each, and last the output.
        caches: of the normalisations, by layer.
        factors: of the noise after a layer, by layer.
    """

    net: Network
    theta: Array
    values: list[Array]
    caches: dict[int, norm.Cache]
    factors: dict[int, Array]


def forward(net: Network, theta: Array, X: Array, *, training: bool = True, noise: Noise | None = None) -> Trace:
    """All values of the network of Linear, ReLU, Sigmoid and BatchNorm layers at `theta` for samples X (N, d).

    Args:
        net: the network.
        theta: its parameters (n,).
        X: the samples.
        training: normalise with the statistics of X; else with the running ones.
        noise: makes factors and shifts that are applied after every BatchNorm.
    """
    found = Trace(net, theta, [X], {}, {})
    for i, layer in enumerate(net.layers):
        a, own = found.values[-1], parameters(net, theta, i)
        if isinstance(layer, Linear):
            y = a @ own["weight"].T + own.get("bias", 0.0)
        elif isinstance(layer, BatchNorm):
            mean, variance = (None, None) if training else running(net, i)
            y, found.caches[i] = norm.batch_norm_forward(
                a, own.get("weight"), own.get("bias"), eps=layer.eps, mean=mean, variance=variance
            )
            if noise is not None:
                factor, shift = noise(i, y.shape)
                y, found.factors[i] = (factor * y + shift).astype(y.dtype), factor
        elif isinstance(layer, ReLU):
            y = np.maximum(a, 0.0)
        elif isinstance(layer, Sigmoid):
            y = 1.0 / (1.0 + np.exp(-np.clip(a, -80.0, 80.0)))
        else:
            raise NotImplementedError(f"layer {i}: {layer.kind}")
        found.values.append(y)
    return found


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
            scaled = delta * trace.factors[i] if i in trace.factors else delta
            delta, d_gamma, d_beta = norm.batch_norm_backward(scaled.astype(a.dtype), trace.caches[i])
            if layer.affine:
                own["weight"][:], own["bias"][:] = d_gamma, d_beta
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
