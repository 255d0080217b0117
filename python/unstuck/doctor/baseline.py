"""The loss of the best constant answer: what a network reaches that looks at none of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def constant_answer_loss(land: Any) -> float | None:
    """The least loss that outputs independent of X can have, in units of the loss; None if it is not known.

    Cross-entropy: the entropy of the class frequencies. Binary: that of each output. MSE: the variance of y.
    Huber: its loss around the median, an upper bound. Label smoothing, sample and class weights are left out.

    Args:
        land: a NetworkLandscape; any other landscape gives None.
    """
    kind, targets = type(getattr(land, "loss_function", None)).__name__, getattr(land, "y", None)
    rule = _RULES.get(kind)
    if rule is None or targets is None:
        return None
    return rule(np.asarray(targets), land)


def _entropy(p: Array) -> float:
    """−Σ p ln p with 0 ln 0 = 0."""
    positive = p[p > 0]
    return float(-np.sum(positive * np.log(positive)))


def _cross_entropy(y: Array, land: Any) -> float:
    return _entropy(np.bincount(y) / len(y))


def _binary(y: Array, land: Any) -> float:
    p: Array = np.asarray(y.astype(np.float64).mean(axis=0))
    return float((_entropy(p) + _entropy(1.0 - p)) / p.size)


def _squares(y: Array, land: Any) -> float:
    return float(y.astype(np.float64).var(axis=0).mean())


def _huber(y: Array, land: Any) -> float:
    delta = float(getattr(land.loss_function, "delta", 1.0))
    distance = np.abs(y.astype(np.float64) - np.median(y, axis=0))
    return float(np.where(distance <= delta, 0.5 * distance**2, delta * (distance - 0.5 * delta)).mean())


_RULES: dict[str, Callable[[Array, Any], float]] = {
    "CrossEntropy": _cross_entropy,
    "BCEWithLogits": _binary,
    "MSE": _squares,
    "Huber": _huber,
}
