"""The tasks that faults are planted in: data, a loss, a kind of network, and a rate at which a sound one learns."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

import unstuck as us

nn = us.nn
CALIBRATION, TEST = "calibration", "test"
Data = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Task:
    """A data set with a loss, standardised, and the kind of network that learns it.

    Attributes:
        name: of the task.
        split: which split it belongs to.
        load: () -> (X (N, d), y); floating y (N, outputs) is a regression, integer y (N,) a classification.
        outputs: classes, or columns of y.
        rate: of SGD, at which a network of one hidden layer learns.
        kind: "perceptron"; "convolution" of 8×8 pixels; "linear": a perceptron whose activations are the identity.
    """

    name: str
    split: str
    load: Callable[[], Data]
    outputs: int
    rate: float
    kind: Literal["perceptron", "convolution", "linear"] = "perceptron"

    @property
    def loss(self) -> Any:
        """The loss of the task."""
        return nn.MSE() if self.regression else nn.CrossEntropy()

    @property
    def regression(self) -> bool:
        """Whether y is a number."""
        return self.load()[1].dtype.kind == "f"

    @property
    def depth(self) -> tuple[int, ...]:
        """Hidden layers of its sound network."""
        return (16, 16) if self.kind == "linear" else (32,)

    def data(self, seed: int) -> Data:
        """Nine tenths of the samples, drawn by the seed."""
        X, y = self.load()
        kept = self._order(seed)[: self._kept]
        return X[kept], y[kept]

    def held_out(self, seed: int) -> Data:
        """The other tenth."""
        X, y = self.load()
        left = self._order(seed)[self._kept :]
        return X[left], y[left]

    @property
    def _kept(self) -> int:
        return max(8, int(0.9 * len(self.load()[0])))

    def _order(self, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).permutation(len(self.load()[0]))

    def land(
        self,
        seed: int,
        hidden: Sequence[int] | None = None,
        activation: str = "Tanh",
        between: Callable[[int], list[Any]] | None = None,
        change: Callable[[np.ndarray], np.ndarray] | None = None,
        relabel: Callable[[np.ndarray], np.ndarray] | None = None,
        part: slice = slice(None),
        l2: float = 0.0,
        **options: Any,
    ) -> us.NetworkLandscape:
        """A network on the task.

        Args:
            seed: of the samples drawn and of the weights.
            hidden: sizes of the hidden layers; a convolution has a quarter as many channels. None: `depth`.
            activation: behind every hidden layer; tasks of kind "linear" have none.
            between: (width) -> layers between a hidden layer and its activation.
            change: of X (N, d).
            relabel: of y.
            part: of the samples drawn, to train on.
            l2: penalty.
            **options: of the network.
        """
        X, y = (array[part] for array in self.data(seed))
        X = X if change is None else np.asarray(change(X), dtype=np.float32)
        y = y if relabel is None else relabel(y)
        act = "Identity" if self.kind == "linear" else activation
        widths, shape = (self.depth if hidden is None else hidden), self.shape_of(X.shape[1])
        net = nn.Network(*self._layers(X.shape[1], widths, act, between), input_shape=shape, seed=seed, **options)
        return us.NetworkLandscape(net, self.loss, X.reshape(-1, *shape), y, l2=l2)

    def shape_of(self, columns: int) -> tuple[int, ...]:
        """Of one sample."""
        return (1, 8, 8) if self.kind == "convolution" else (columns,)

    def _layers(self, columns: int, hidden: Sequence[int], activation: str, between: Any) -> list[Any]:
        layers: list[Any] = []
        if self.kind == "convolution":
            channels = [1, *(max(2, width // 4) for width in hidden)]
            for i, (a, b) in enumerate(itertools.pairwise(channels)):
                layers += [nn.Conv2d(a, b, 3, padding=1), *(between(b) if between else []), getattr(nn, activation)()]
                layers += [nn.MaxPool2d(2)] if i == 0 else []
            return [*layers, nn.Flatten(), nn.Linear(16 * channels[-1] if hidden else columns, self.outputs)]
        widths = [columns, *hidden]
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), *(between(b) if between else []), getattr(nn, activation)()]
        return [*layers, nn.Linear(widths[-1], self.outputs)]


def _standardised(X: np.ndarray) -> np.ndarray:
    spread = X.std(axis=0)
    return ((X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0)).astype(np.float32)


def _column(y: np.ndarray) -> np.ndarray:
    y = y.reshape(len(y), -1)
    return ((y - y.mean(axis=0)) / y.std()).astype(np.float32)


@cache
def _sklearn(name: str) -> Data:
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    return _standardised(found.data), _column(found.target) if name == "diabetes" else found.target


@cache
def _digits(first: int, last: int) -> Data:
    X, y = us.data.digits()
    return _standardised(X[first:last]), y[first:last]


@cache
def _waves() -> Data:
    rng = np.random.default_rng(11)
    A = rng.normal(size=(600, 8)).astype(np.float32)
    y = np.sin(A[:, 0]) + 0.5 * A[:, 1] * A[:, 2] + 0.2 * rng.normal(size=600)
    return A, _column(y)


@cache
def _xor() -> Data:
    rng = np.random.default_rng(12)
    A = rng.uniform(-1, 1, size=(500, 4)).astype(np.float32)
    return _standardised(A), ((A[:, 0] > 0) ^ (A[:, 1] > 0)).astype(np.int64)


@cache
def _rings() -> Data:
    """Three rings around a common centre."""
    rng = np.random.default_rng(13)
    y, turn = rng.integers(0, 3, 600), rng.uniform(0, 2 * np.pi, 600)
    radius = 1.0 + y + 0.15 * rng.normal(size=600)
    return _standardised(np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)), y.astype(np.int64)


@cache
def _friedman() -> Data:
    """10 sin(πx₀x₁) + 20(x₂ − ½)² + 10x₃ + 5x₄ + noise (J. Friedman 1991)."""
    rng = np.random.default_rng(14)
    A = rng.uniform(size=(600, 7))
    y = 10 * np.sin(np.pi * A[:, 0] * A[:, 1]) + 20 * (A[:, 2] - 0.5) ** 2 + 10 * A[:, 3] + 5 * A[:, 4]
    return _standardised(A), _column(y + rng.normal(size=600))


@cache
def _stripes() -> Data:
    """8×8 pixels: stripes that lie, stand, rise or fall, of any phase, in noise."""
    rng = np.random.default_rng(15)
    y, phase = rng.integers(0, 4, 700), rng.uniform(0, 2 * np.pi, 700)
    row, column = np.mgrid[:8, :8]
    waves = np.stack([row, column, (row + column) / np.sqrt(2), (row - column) / np.sqrt(2)])[y]
    X = np.sin(2.1 * waves + phase[:, None, None]) + 0.5 * rng.normal(size=(700, 8, 8))
    return _standardised(X.reshape(700, 64)), y.astype(np.int64)


@cache
def _linear_map(seed: int, columns: int, outputs: int, rank: int) -> Data:
    """XAB + noise with A (columns, rank), B (rank, outputs), as y."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(500, columns))
    y = X @ rng.normal(size=(columns, rank)) @ rng.normal(size=(rank, outputs))
    return _standardised(X), _column(y + 0.1 * y.std() * rng.normal(size=y.shape))


TASKS = (
    Task("digits", CALIBRATION, lambda: _digits(0, 900), 10, 0.05),
    Task("wine", CALIBRATION, lambda: _sklearn("wine"), 3, 0.05),
    Task("waves", CALIBRATION, _waves, 1, 0.05),
    Task("rings", CALIBRATION, _rings, 3, 0.2),
    Task("stripes, convolution", CALIBRATION, _stripes, 4, 0.05, "convolution"),
    Task("linear map, deep linear", CALIBRATION, lambda: _linear_map(16, 10, 4, 3), 4, 0.02, "linear"),
    Task("breast cancer", TEST, lambda: _sklearn("breast_cancer"), 2, 0.05),
    Task("diabetes", TEST, lambda: _sklearn("diabetes"), 1, 0.02),
    Task("xor", TEST, _xor, 2, 0.2),
    Task("friedman", TEST, _friedman, 1, 0.05),
    Task("digits, convolution", TEST, lambda: _digits(900, 1797), 10, 0.05, "convolution"),
    Task("low-rank map, deep linear", TEST, lambda: _linear_map(17, 14, 6, 2), 6, 0.02, "linear"),
)


def all_digits() -> Data:
    """All 1,797 digits, which no split has: for speed only."""
    return _digits(0, 1797)
