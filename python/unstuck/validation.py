"""The loss and the accuracy of a network on data that it is not trained on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError, ArgumentTypeError
from .what_came import what_came

Array = NDArray[Any]


class Validation:
    """Measures θ on held-out data.

    Args:
        land: the landscape that is trained on; it must offer `with_data(X, y)`, as NetworkLandscape does.
        data: (X, y).

    Raises:
        ArgumentTypeError: `data` is not a pair.
        ArgumentError: the landscape has no data to replace.
    """

    def __init__(self, land: Any, data: Any) -> None:
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            came = f"{len(data)} item(s)" if isinstance(data, (tuple, list)) else what_came(data)
            raise ArgumentTypeError(f"`validation` must be a pair (X, y), got {came}")
        if not hasattr(land, "with_data"):
            raise ArgumentError(f"`validation` needs a landscape of a network, got {type(land).__name__}")
        self.land = land.with_data(*data)

    def __call__(self, theta: Array) -> tuple[float, float]:
        """(loss, accuracy): mean loss of the data alone; accuracy is NaN where the task has none."""
        return float(self.land.loss(theta)), accuracy(self.land, theta)


def accuracy(land: Any, theta: Array) -> float:
    """The fraction of samples whose class is predicted; NaN where the loss is not one of classification.

    Args:
        land: a NetworkLandscape, or any landscape with `accuracy(theta)`.
        theta: parameters (n,).
    """
    if callable(getattr(land, "accuracy", None)):
        return float(land.accuracy(theta))
    kind = type(getattr(land, "loss_function", None)).__name__
    if kind not in ("CrossEntropy", "BCEWithLogits"):
        return math.nan
    outputs, wanted = np.asarray(land.net.predict(land.X, theta=theta)), np.asarray(land.y)
    if kind == "CrossEntropy":
        return float(np.mean(outputs.argmax(axis=1) == wanted))
    return float(np.mean((outputs > 0) == (wanted.reshape(outputs.shape) > 0.5)))
