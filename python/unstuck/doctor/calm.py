"""The critical point that a noisy run hovers around: full-data descent from where it stands, to its quietest place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..train import gradient_norm
from .objective import Objective
from .subject import Clock

Array = NDArray[Any]

TURNS = 100


def calm(objective: Objective, theta: Array, clock: Clock, seconds: float) -> Array:
    """The point of smallest gradient on a short descent from `theta`; `theta` itself if that is no quieter by half.

    Steps of Barzilai and Borwein (IMA J. Numerical Analysis 8, 1988), which need no line search: float32 losses
    could not guide one here. Ends where the path bends downwards (sᵀy ≤ 0): beyond that it leaves the saddle.
    """
    began = clock.elapsed
    place = theta.astype(np.float64)
    gradient = objective.gradient(theta)[1].astype(np.float64)
    first = least = gradient_norm(gradient)
    best, step = theta, _first_step(objective, theta, gradient)
    for _ in range(TURNS):
        if not step > 0.0 or least <= 1e-5 * first or clock.elapsed - began > seconds:
            break
        ahead = (place - step * gradient).astype(theta.dtype)
        slope = objective.gradient(ahead)[1].astype(np.float64)
        size = gradient_norm(slope)
        if not size <= 10.0 * least:
            break
        if size < least:
            best, least = ahead, size
        moved, change = ahead.astype(np.float64) - place, slope - gradient
        bend = float(moved @ change)
        step = float(moved @ moved) / bend if bend > 0 else 0.0
        place, gradient = ahead.astype(np.float64), slope
    return best if least < 0.5 * first else theta


def _first_step(objective: Objective, theta: Array, gradient: Array) -> float:
    """‖g‖²/gᵀHg; 0 where the gradient is 0 or the curvature along it is not positive."""
    square = float(gradient @ gradient)
    if square == 0.0 or not np.isfinite(square):
        return 0.0
    direction = (gradient / np.sqrt(square)).astype(theta.dtype)
    bend = float(direction.astype(np.float64) @ (objective.hessian(theta) @ direction))
    return 1.0 / bend if bend > 0 else 0.0
