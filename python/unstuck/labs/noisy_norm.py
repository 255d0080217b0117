"""Noise after batch normalisation, the control of arXiv 1805.11604, as a normalisation for `passes.forward`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..nn import Network
from .passes import Back, Normalise, Trace, backward, batch_normalisation, cross_entropy, forward

Array = NDArray[Any]
# Of the noise, as in the paper's algorithm: a mean within ±½ and a deviation between 1 and 1.25 per unit and update,
# about which every sample's shift and factor vary by 0.1.
SHIFT, FACTOR, SPREAD = 0.5, 1.25, 0.1


def noisy(net: Network, rng: np.random.Generator) -> Normalise:
    """Batch normalisation, then s·y + m, s and m random for every sample and unit, differently distributed each time.

    Per unit μ ~ U(−½, ½), σ ~ U(1, 1.25); per sample m ~ U(μ − 0.1, μ + 0.1), s ~ N(σ, 0.1²).
    """
    inner = batch_normalisation(net, training=True)

    def normalise(i: int, x: Array, gamma: Array, beta: Array) -> tuple[Array, Back]:
        y, back = inner(i, x, gamma, beta)
        units = x.shape[1]
        middle, size = rng.uniform(-SHIFT, SHIFT, units), rng.uniform(1.0, FACTOR, units)
        shift = (middle + SPREAD * rng.uniform(-1.0, 1.0, x.shape)).astype(x.dtype)
        factor = (size + SPREAD * rng.standard_normal(x.shape)).astype(x.dtype)
        return factor * y + shift, lambda d_y: back(factor * d_y)

    return normalise


class Traced:
    """Loss and gradient of a network with another normalisation.

    Args:
        net: the network.
        X: samples (N, d).
        y: their labels (N,).
        normalise: done instead of batch normalisation.
    """

    def __init__(self, net: Network, X: Array, y: Array, normalise: Normalise) -> None:
        self.net, self.X, self.y, self.normalise = net, X, y, normalise

    def trace(self, theta: Array, X: Array) -> Trace:
        """All values for samples X."""
        return forward(self.net, theta, X, normalise=self.normalise)

    def gradient(self, theta: Array, batch: Any = None) -> tuple[float, Array]:
        """(L, ∇L) on the samples `batch`; None: all."""
        chosen = slice(None) if batch is None else batch
        trace = self.trace(theta, self.X[chosen])
        loss, d_logits = cross_entropy(trace.values[-1], self.y[chosen])
        return loss, backward(trace, d_logits)[0]
