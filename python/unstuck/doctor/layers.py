"""Probe: the activations and weights of a network of our own engine, on the examined samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..network_landscape import NetworkLandscape
from ..plain_text import plain
from .subject import Subject
from .symptoms import BlockState, LayerState

Array = NDArray[Any]

MOST_SAMPLES = 1024
FLAT = 0.05  # of the steepest slope: below it an activation counts as flat
MOSTLY = 0.95  # of the samples


def network_landscape(land: Any) -> NetworkLandscape | None:
    """The landscape if it is one of our own networks, else None."""
    return land if isinstance(land, NetworkLandscape) else None


def examined_inputs(subject: Subject, land: NetworkLandscape) -> Array:
    """At most 1,024 of the examined samples, in the network's input shape."""
    chosen = subject.curved.sample
    rows = land.X if chosen is None else land.X[chosen]
    return rows[:MOST_SAMPLES].reshape(-1, *land.net.input_shape)


def look_at_layers(subject: Subject) -> tuple[LayerState, ...] | None:
    """What every activation does on the data, as training sees it. Cost: one forward pass."""
    land = network_landscape(subject.land)
    if land is None:
        return None
    X = examined_inputs(subject, land)
    outputs = land.net.activations(X, subject.theta, "train" if len(X) > 1 else "eval")
    states = []
    for node, (name, h) in zip(land.net._wiring.nodes, outputs, strict=True):
        slope = _SLOPES.get(node.kind)
        if slope is None or node.source < 0:
            continue
        z = outputs[node.source][1]
        relative = slope(z.astype(np.float64), h.astype(np.float64), node.options)
        states.append(_state(name, h, relative))
    return tuple(states)


def _state(name: str, h: Array, relative: Array) -> LayerState:
    # the positions of a channel are one unit
    flat = _by_unit(relative) <= FLAT
    values = _by_unit(h)
    dead = (_by_unit(relative) == 0.0).all(axis=1) & (values == 0.0).all(axis=1)
    saturated = (flat.mean(axis=1) >= MOSTLY) & ~dead
    spread = float(np.sqrt(np.mean(values.astype(np.float64).var(axis=1))))
    idle = tuple(np.flatnonzero(dead if dead.any() else saturated)[:10].tolist())
    return LayerState(name, len(values), float(dead.mean()), float(saturated.mean()), spread, idle)


def _by_unit(values: Array) -> Array:
    """(N, C, …) as (C, N·positions)."""
    return np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)


def _logistic(x: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -500.0, 500.0))))


# |φ'| over its largest value, from (z, h, options)
_SLOPES: dict[str, Callable[[Array, Array, dict[str, float]], Array]] = {
    "Identity": lambda z, h, o: np.ones_like(z),
    "LeakyReLU": lambda z, h, o: np.ones_like(z),
    "ReLU": lambda z, h, o: (z > 0).astype(float),
    "ELU": lambda z, h, o: np.where(z > 0, 1.0, np.abs(h + o["alpha"])),
    "Tanh": lambda z, h, o: 1.0 - h**2,
    "Sigmoid": lambda z, h, o: 4.0 * h * (1.0 - h),
    "Softplus": lambda z, h, o: _logistic(o["beta"] * z),
    "SiLU": lambda z, h, o: np.abs(_logistic(z) * (1.0 + z * (1.0 - _logistic(z)))),
    "GELU": lambda z, h, o: np.abs(_logistic(1.702 * z) * (1.0 + 1.702 * z * (1.0 - _logistic(1.702 * z)))),
}


def look_at_weights(subject: Subject) -> tuple[BlockState, ...] | None:
    """Every weight with its gradient, first layer first. Cost: one gradient; None without weights."""
    weights = [(name, where, shape) for name, where, shape in subject.land.blocks if len(shape) > 1]
    if not weights:
        return None
    _, gradient = subject.curved.gradient(subject.theta)
    states = []
    for name, where, shape in weights:
        w, g = subject.theta[where].astype(np.float64), gradient[where].astype(np.float64)
        alike = _identical_rows(w.reshape(shape[0], -1))
        untouched = float(np.mean(g == 0.0))
        states.append(BlockState(plain(name, 80), float(np.linalg.norm(w)), float(np.linalg.norm(g)), alike, untouched))
    return tuple(states)


def _identical_rows(rows: Array) -> float:
    """Share of rows that equal another one to 1e-6 of the longest row; two rows at least."""
    if len(rows) < 2:
        return 0.0
    size = float(np.linalg.norm(rows, axis=1).max())
    grain = 1e-6 * size if size > 0 else 1.0
    _, counts = np.unique(np.round(rows / grain), axis=0, return_counts=True)
    return float(counts[counts > 1].sum()) / len(rows)
