"""What a Trainer is given, checked: its optimizer, its start, its numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError, ArgumentTypeError
from .landscape import Landscape, check_theta
from .ranges import Range
from .what_came import what_came

Array = NDArray[Any]


def check_optimizer(opt: Any) -> None:
    """Refuses what is no optimizer, the class of one included."""
    if isinstance(opt, type) or not all(hasattr(opt, name) for name in ("step", "rate", "init", "copy")):
        raise ArgumentTypeError(f"`opt` must be an optimizer of unstuck.optim, got {what_came(opt)}")


def start_of(land: Landscape, theta: Any) -> tuple[Array, Array]:
    """The array that training moves, the landscape's own point if it has one, and where it starts."""
    live = land.theta
    if theta is None and live is None:
        raise ArgumentError("`theta` must be given: the landscape has no current point to start from")
    start = check_theta(live if theta is None else theta, land.n, land.dtype)
    if not np.isfinite(start).all():
        raise ArgumentError("`theta` must be finite at the start")
    if live is None:
        return start.copy(), start
    if not (isinstance(live, np.ndarray) and live.flags.writeable and live.dtype == land.dtype):
        return start.copy(), start
    return live, start


def positive(limit: Range, name: str, value: Any) -> float:
    """`value` within `limit`, and not 0."""
    number = limit.check(name, value)
    if number == 0.0:
        raise ArgumentError(f"`{name}` must be positive, got 0")
    return number
