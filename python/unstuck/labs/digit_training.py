"""Training on the real digits as the labs on normalisation do it: standardised pixels, deep plain networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NonFiniteError
from ..nn import BatchNorm, Layer, Linear, Network

if TYPE_CHECKING:
    from ..train import Trainer

Array = NDArray[Any]
CLASSES = 10
BATCH = 128


@dataclass(frozen=True)
class Digits:
    """The digits in two parts, standardised with the statistics of the first.

    Attributes:
        X: training samples (N, 64) float32.
        y: their digits (N,).
        X_rest: validation samples.
        y_rest: their digits.
    """

    X: Array
    y: Array
    X_rest: Array
    y_rest: Array


@dataclass(frozen=True)
class Learning:
    """How one training run went.

    Attributes:
        net: the network as it ended.
        updates: updates done at every measurement, (m,), the first 0.
        accuracy: on the validation part at these, (m,); once the loss is infinite, that of guessing.
        finite: whether it stayed finite.
    """

    net: Network
    updates: Array
    accuracy: Array
    finite: bool

    def first(self, goal: float) -> float:
        """Updates until the accuracy is at least `goal`; infinite if it never is."""
        reached = np.flatnonzero(self.accuracy >= goal)
        return float(self.updates[reached[0]]) if len(reached) else np.inf


def digits_in_two(seed: int) -> Digits:
    """Three quarters of the digits for training, one quarter for validation."""
    from ..data import digits, split
    from ..standardise import Standardiser

    X, y = digits()
    train, rest = split(len(X), 0.25, seed)
    scaler = Standardiser().update(X[train])
    return Digits(scaler.transform(X[train]), y[train], scaler.transform(X[rest]), y[rest])


def deep(depth: int, width: int, activation: Callable[[], Layer], norm: str = "none") -> list[Layer]:
    """`depth` hidden layers and ten outputs; `norm` is "none", "before" or "after" the activation."""
    layers: list[Layer] = []
    for i in range(depth):
        layers.append(Linear(width if i else 64, width))
        layers.extend([BatchNorm(width)] * (norm == "before"))
        layers.append(activation())
        layers.extend([BatchNorm(width)] * (norm == "after"))
    return [*layers, Linear(width, CLASSES)]


def learn(
    layers: Sequence[Layer],
    data: Digits,
    lr: float,
    *,
    seed: int,
    updates: int,
    every: int = 10,
    size: float = 1.0,
    batch_size: int = BATCH,
) -> Learning:
    """Train by plain gradient descent from He's weights, and measure the validation accuracy.

    Args:
        layers: of the network.
        data: the digits.
        lr: learning rate.
        seed: of the first weights and of the order of the samples.
        updates: of the weights.
        every: updates between two measurements.
        size: factor of the first weights of every hidden layer.
        batch_size: samples per update.
    """
    from ..network_landscape import NetworkLandscape
    from ..nn import CrossEntropy
    from ..optim import SGD
    from ..train import Trainer

    net = Network(*layers, input_shape=(64,), seed=seed, init="he_normal")
    enlarge(net, size)
    land = NetworkLandscape(net, CrossEntropy(), data.X, data.y)
    run = Trainer(land, SGD(lr=lr), batch_size=batch_size, seed=seed)
    measured = range(0, updates + 1, every)
    accuracy = np.full(len(measured), 1.0 / CLASSES)
    for i, done in enumerate(measured):
        finite = advance(run, done)
        if not finite:
            break
        accuracy[i] = np.mean(net.predict(data.X_rest).argmax(axis=1) == data.y_rest)
    return Learning(net, np.array(measured), accuracy, finite)


def in_words(updates: float) -> str:
    """The number of updates that something took, infinite for never."""
    return "for ever" if np.isinf(updates) else f"{updates:g} updates"


def advance(run: Trainer, updates: int) -> bool:
    """Train until so many updates are done; False if the loss or the gradient became infinite or NaN before."""
    try:
        run.fit(steps=max(0, updates - run.t))
    except NonFiniteError:
        return False
    return True


def enlarge(net: Network, size: float) -> None:
    """Multiply the weights of all Linear layers but the last."""
    hidden = [name for name, _, shape in net.blocks if name.endswith(".weight") and len(shape) == 2][:-1]
    for name in hidden:
        net.block(name)[:] *= size
