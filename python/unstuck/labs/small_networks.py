"""Small networks for a curve in one dimension, their training, and their whole Hessian."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..network_landscape import NetworkLandscape

Array = NDArray[np.float64]
SAMPLES = 96


def curve(hidden: tuple[int, ...], seed: int) -> NetworkLandscape:
    """A tanh network for y = sin(5πx)/(5πx) on [0, 1], in float64: the lecture's exercise."""
    from .. import nn

    x = np.linspace(0.0, 1.0, SAMPLES)[:, None]
    sizes = (1, *hidden, 1)
    layers: list[Any] = []
    for i in range(len(sizes) - 1):
        layers += ([nn.Tanh()] if i else []) + [nn.Linear(sizes[i], sizes[i + 1])]
    net = nn.Network(*layers, input_shape=(1,), seed=seed, dtype="float64")
    return NetworkLandscape(net, nn.MSE(), x, np.sinc(5.0 * x))


def train(land: NetworkLandscape, steps: int, lr: float = 0.01) -> None:
    """Full-batch Adam for `steps` updates, θ in place."""
    from ..optim import Adam
    from ..train import Trainer

    if steps:
        Trainer(land, Adam(lr=lr), batch_size=SAMPLES).fit(steps=steps)


def eigen(land: NetworkLandscape, theta: Array) -> tuple[Array, Array]:
    """All eigenvalues, ascending, and eigenvectors (columns) of the Hessian."""
    from ..curvature.dense import dense_matrix, eigenvalues_and_vectors

    return eigenvalues_and_vectors(dense_matrix(land.hessian(theta)).matrix)


def bins(values: Array, relative: float) -> dict[str, float]:
    """Shares below −τ, within ±τ and above τ = relative·max|λ|, and the raw #(λ > 0)/n."""
    tau = relative * float(np.abs(values).max())
    return {
        "negative": float(np.mean(values < -tau)),
        "flat": float(np.mean(np.abs(values) <= tau)),
        "positive": float(np.mean(values > tau)),
        "raw": float(np.mean(values > 0.0)),
    }
