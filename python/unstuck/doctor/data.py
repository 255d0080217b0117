"""Probe: the features that a network is given, and the same problem with standardised ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import nn
from ..network_landscape import NetworkLandscape
from ..standardise import Standardiser
from .layers import network_landscape
from .subject import Subject
from .symptoms import Features

Array = NDArray[Any]

MOST_ROWS = 10_000


def look_at_features(subject: Subject) -> Features | None:
    """Scales and offsets of the columns of X. Cost: one pass over at most 10,000 rows; None without a network."""
    land = network_landscape(subject.land)
    if land is None:
        return None
    columns = land.X[:MOST_ROWS].reshape(min(len(land.X), MOST_ROWS), -1).astype(np.float64)
    mean, std = columns.mean(axis=0), columns.std(axis=0)
    moving = std > 1e-12 * np.maximum(np.abs(mean), 1e-300)
    if not moving.any():
        return Features(1.0, 0.0, len(std), len(std), 0)
    typical = float(np.quantile(std[moving], 0.25, method="lower"))
    size = np.maximum(np.where(moving, std, 0.0), np.where(moving, np.abs(mean), 0.0))
    return Features(
        spread=float(std[moving].max()) / typical,
        offset=float(np.abs(mean[moving]).max()) / typical,
        constant=int((~moving).sum()),
        columns=len(std),
        widest=int(np.argmax(size)),
    )


def standardised(land: NetworkLandscape, theta: Array) -> tuple[NetworkLandscape, Array] | None:
    """(the same problem on standardised columns, θ for the same function); None unless a Linear reads X alone.

    W·x + b = (W·σ)·((x − μ)/σ) + (b + W·μ), constant columns being left as they are.
    """
    nodes = land.net._wiring.nodes
    readers = [node for node in nodes if -1 in (node.source, node.second)]
    if len(readers) != 1 or readers[0].kind != "Linear" or not getattr(readers[0].layer, "bias", False):
        return None
    scaler = Standardiser().update(land.X.reshape(len(land.X), -1))
    net = nn.Network(
        *land.net.layers, input_shape=land.net.input_shape, seed=land.net.seed, dtype=land.dtype, init=land.net.init
    )
    net.theta[:] = theta
    net.buffers[:] = land.buffers
    weight, bias = net.block(f"{readers[0].name}.weight"), net.block(f"{readers[0].name}.bias")
    bias += (weight.astype(np.float64) @ scaler.mean).astype(bias.dtype)
    weight *= scaler.scale.astype(weight.dtype)
    X = scaler.transform(land.X.reshape(len(land.X), -1), land.dtype)
    twin = NetworkLandscape(
        net,
        land.loss_function,
        X.reshape(-1, *land.net.input_shape),
        land.y,
        mode=land.mode,
        l2=land.l2,
        spectral_penalty=land.spectral_penalty,
        sample_weight=land.sample_weight,
        memory_budget=land.memory_budget,
    )
    return twin, net.theta.copy()
