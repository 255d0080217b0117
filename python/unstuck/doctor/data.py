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
from .symptoms import Features, Labels

Array = NDArray[Any]

MOST_ROWS, MOST_COLUMNS = 10_000, 512


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
        size=_usual_size(columns[:, moving]),
        **_correlation(columns[:, moving], mean[moving], std[moving]),
    )


def _usual_size(columns: Array) -> float:
    """How far a typical column is from the size 1 that initialisers count on, as a factor above 1."""
    usual = float(np.median(np.sqrt(np.mean(columns**2, axis=0))))
    return max(usual, 1.0 / usual) if usual > 0.0 else 1.0


def _correlation(columns: Array, mean: Array, std: Array) -> dict[str, Any]:
    """How many columns repeat an earlier one, and the condition number of the correlations of the others."""
    if not 1 < columns.shape[1] <= MOST_COLUMNS:
        return {"duplicates": 0, "condition": 1.0 if columns.shape[1] == 1 else None}
    scaled = (columns - mean) / std
    correlations = scaled.T @ scaled / len(scaled)
    repeats = (np.abs(np.tril(correlations, -1)) > 1.0 - 1e-9).any(axis=1)
    values = np.linalg.eigvalsh(correlations[np.ix_(~repeats, ~repeats)])
    return {"duplicates": int(repeats.sum()), "condition": float(values[-1] / max(values[0], 1e-300))}


def look_at_labels(subject: Subject) -> Labels | None:
    """How often each class occurs. Cost: one pass over the labels; None unless classes are what is learned."""
    land = network_landscape(subject.land)
    if land is None or land.y.dtype.kind not in "iu" or land.y.ndim != 1:
        return None
    classes = int(land.net.predict(land.X[:1].reshape(-1, *land.net.input_shape)).shape[1])
    share = np.bincount(land.y, minlength=classes) / len(land.y)
    return Labels(classes, float(share.min()), float(share.max()))


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
