"""Trained points and saddles of the 64-64-64-10 tanh network on all digits, made afresh."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

import unstuck as us

WIDTHS = (64, 64, 64, 10)


def landscape(widths: tuple[int, ...] = WIDTHS, seed: int = 0, dtype: str = "float32") -> us.NetworkLandscape:
    """Cross-entropy on all 1,797 digits."""
    layers: list[Any] = []
    for a, b in itertools.pairwise(widths):
        layers += [us.nn.Linear(a, b), us.nn.Tanh()]
    net = us.nn.Network(*layers[:-1], input_shape=(widths[0],), seed=seed, dtype=dtype)
    X, y = us.data.digits()
    return us.NetworkLandscape(net, us.nn.CrossEntropy(), X.astype(dtype), y)


def trained(land: us.NetworkLandscape, updates: int) -> Any:
    """θ after full-batch Adam at 1e-3."""
    run = us.Trainer(land, us.optim.Adam(lr=1e-3), batch_size=land.samples or 1)
    return run.fit(steps=updates).theta.copy()


def saddles(quick: bool) -> Iterator[tuple[str, Any]]:
    """(how it was found, θ): near the start, on the way, and a smaller network's solution with every unit doubled."""
    products = 200 if quick else 1000
    for updates in (0,) if quick else (0, 100):
        land = landscape(seed=3, dtype="float64")
        found = us.find_critical(land, trained(land, updates), max_products=products)
        yield f"Newton on the gradient from update {updates}", found.theta
    small = landscape((64, 32, 32, 10), dtype="float64")
    found = us.find_critical(small, trained(small, 300), max_products=products)
    yield "32-32 network near its solution, every unit doubled", doubled(small, found.theta)


def doubled(land: us.NetworkLandscape, theta: Any) -> Any:
    """Every hidden unit twice, with half its weight in the next layer: a critical point of the wider network."""
    parts = [theta[where].reshape(shape) for _, where, shape in land.blocks]
    last = len(parts) // 2 - 1
    blocks = []
    for layer in range(last + 1):
        weight, bias = parts[2 * layer], parts[2 * layer + 1]
        if layer > 0:
            weight = np.repeat(weight, 2, axis=1) / 2
        if layer < last:
            weight, bias = np.repeat(weight, 2, axis=0), np.repeat(bias, 2)
        blocks += [weight.ravel(), bias]
    return np.concatenate(blocks)
