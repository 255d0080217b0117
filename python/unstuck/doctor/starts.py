"""Starts: fresh weights, scaled layer by layer so that every hidden unit varies by one over the data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..network_landscape import NetworkLandscape
from .treatments import fresh_theta

Array = NDArray[Any]

LEAST = 1e-6  # standard deviation below which a unit is left as it is


def scaled_theta(land: NetworkLandscape, X: Array, other: int = 1) -> Array:
    """θ (n,) whose hidden units have mean 0 and standard deviation 1 over `X` before their activation.

    The last weight keeps its size. Whatever the depth and the activation, neither signal nor gradient fades or grows
    by orders of magnitude then. Cost: a forward pass of X for each weight.
    Source: T. Salimans and D. Kingma, arXiv 1602.07868, section 3; D. Mishkin and J. Matas, arXiv 1511.06422.
    """
    theta = fresh_theta(land, other)
    blocks = {name: (where, shape) for name, where, shape in land.blocks}
    weighed = [i for i, node in enumerate(land.net._wiring.nodes) if f"{node.name}.weight" in blocks]
    hidden = [i for i in weighed[:-1] if land.net._wiring.nodes[i].kind in ("Linear", "Conv2d")]
    for i in hidden:
        name = land.net._wiring.nodes[i].name
        z = land.net.activations(X, theta, "train")[i][1].astype(np.float64)
        units = np.moveaxis(z, 1, 0).reshape(z.shape[1], -1)
        spread = units.std(axis=1)
        scale = np.where(spread > LEAST, 1.0 / np.maximum(spread, LEAST), 1.0)
        where, shape = blocks[f"{name}.weight"]
        weight = theta[where].reshape(shape)
        weight *= scale.reshape(-1, *(1,) * (len(shape) - 1)).astype(theta.dtype)
        if f"{name}.bias" in blocks:
            bias = theta[blocks[f"{name}.bias"][0]]
            bias[:] = (scale * (bias - units.mean(axis=1))).astype(theta.dtype)
    return theta
