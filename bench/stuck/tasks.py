"""The tasks that faults are planted in: data, a loss, and rates at which a sound network learns."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import unstuck as us

nn = us.nn
CALIBRATION, TEST = "calibration", "test"


@dataclass(frozen=True)
class Task:
    """A data set with a loss, standardised.

    Attributes:
        name: of the task.
        split: which split it belongs to.
        load: () -> (X (N, d), y).
        outputs: classes, or 1 for a regression.
        rate: of SGD, at which a network of one hidden layer learns.
    """

    name: str
    split: str
    load: Callable[[], tuple[np.ndarray, np.ndarray]]
    outputs: int
    rate: float

    @property
    def loss(self) -> Any:
        """The loss of the task."""
        return nn.MSE() if self.outputs == 1 else nn.CrossEntropy()

    def data(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Nine tenths of the samples, drawn by the seed."""
        X, y = self.load()
        kept = np.random.default_rng(seed).permutation(len(X))[: max(8, int(0.9 * len(X)))]
        return X[kept], y[kept]

    def land(
        self,
        seed: int,
        hidden: Sequence[int] = (32,),
        activation: str = "Tanh",
        between: Callable[[int], list[Any]] | None = None,
        scale: np.ndarray | float = 1.0,
        shift: float = 0.0,
        l2: float = 0.0,
        **options: Any,
    ) -> us.NetworkLandscape:
        """A perceptron on the task; `between(width)` gives layers between a linear one and its activation."""
        X, y = self.data(seed)
        layers: list[Any] = []
        widths = [X.shape[1], *hidden]
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), *(between(b) if between else []), getattr(nn, activation)()]
        net = nn.Network(*layers, nn.Linear(widths[-1], self.outputs), input_shape=(X.shape[1],), seed=seed, **options)
        data = (X * scale + shift).astype(np.float32)
        return us.NetworkLandscape(net, self.loss, data, y, l2=l2)


def _standardised(X: np.ndarray) -> np.ndarray:
    spread = X.std(axis=0)
    return ((X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0)).astype(np.float32)


@cache
def _sklearn(name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    y = found.target
    if name == "diabetes":
        y = ((y - y.mean()) / y.std()).astype(np.float32)[:, None]
    return _standardised(found.data), y


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = us.data.digits()
    return _standardised(X), y


@cache
def _waves() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    A = rng.normal(size=(600, 8)).astype(np.float32)
    y = np.sin(A[:, 0]) + 0.5 * A[:, 1] * A[:, 2] + 0.2 * rng.normal(size=600)
    return A, y.astype(np.float32)[:, None]


@cache
def _xor() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(12)
    A = rng.uniform(-1, 1, size=(500, 4)).astype(np.float32)
    return _standardised(A), ((A[:, 0] > 0) ^ (A[:, 1] > 0)).astype(np.int64)


TASKS = (
    Task("digits", CALIBRATION, _digits, 10, 0.05),
    Task("wine", CALIBRATION, lambda: _sklearn("wine"), 3, 0.05),
    Task("waves", CALIBRATION, _waves, 1, 0.02),
    Task("breast cancer", TEST, lambda: _sklearn("breast_cancer"), 2, 0.05),
    Task("diabetes", TEST, lambda: _sklearn("diabetes"), 1, 0.02),
    Task("xor", TEST, _xor, 2, 0.1),
)
