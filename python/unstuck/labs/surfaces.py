"""Error surfaces of the optimizer labs, each with its minimum: valleys, a crescent, a saddle, a profile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..landscape import FunctionLandscape

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Surface:
    """A landscape, where it is lowest, and its gradient at many points at once.

    Attributes:
        land: the landscape, bounded below by 0 unless it has no minimum.
        goal: its minimum (n,).
        gradients: points (k, n) → gradients (k, n).
    """

    land: FunctionLandscape
    goal: Array
    gradients: Callable[[Array], Array]


def elongated(flat: float, steep: float) -> Surface:
    """½·flat·x² + ½·steep·y²: a long valley along x."""
    curvature = np.array([flat, steep])
    land = FunctionLandscape(
        lambda w: 0.5 * float(curvature @ (w * w)),
        lambda w: curvature * w,
        n=2,
        hvp=lambda w, v: curvature * v,
        lower_bound=0.0,
    )
    return Surface(land, np.zeros(2), lambda points: curvature * points)


def product() -> Surface:
    """(1 − w₁w₂)²: a saddle at the origin, minima along w₁w₂ = 1, of which (1, 1) is the goal."""

    def gradients(points: Array) -> Array:
        slope = -2.0 * (1.0 - points[..., 0] * points[..., 1])
        return np.asarray(slope[..., None] * points[..., ::-1])

    land = FunctionLandscape(lambda w: float((1.0 - w[0] * w[1]) ** 2), gradients, n=2, lower_bound=0.0)
    return Surface(land, np.ones(2), gradients)


def crescent(wall: float, bend: float, slope: float, goal: float) -> Surface:
    """½·wall·(y − bend·x²)² + ½·slope·(x − goal)²: a valley bent into a crescent."""

    def gradients(points: Array) -> Array:
        x, y = points[..., 0], points[..., 1]
        off = wall * (y - bend * x * x)
        return np.stack([slope * (x - goal) - 2.0 * bend * x * off, off], axis=-1)

    def loss(w: Array) -> float:
        return float(0.5 * wall * (w[1] - bend * w[0] ** 2) ** 2 + 0.5 * slope * (w[0] - goal) ** 2)

    return Surface(
        FunctionLandscape(loss, gradients, n=2, lower_bound=0.0), np.array([goal, bend * goal * goal]), gradients
    )


def flat_steep_flat(gentle: float, steep: float, begin: float, end: float, width: float) -> Surface:
    """A slope downwards along x: L′ = −gentle outside [begin, end], −steep within, joined smoothly over `width`.

    L falls for ever: the goal is infinity.
    """

    def rise(x: Array, middle: float) -> Array:
        return 0.5 + 0.5 * np.tanh(0.5 * (x - middle) / width)

    def softplus(x: float) -> float:
        return float(width * np.logaddexp(0.0, x / width))

    def gradients(points: Array) -> Array:
        return -gentle - (steep - gentle) * (rise(points, begin) - rise(points, end))

    def loss(w: Array) -> float:
        x = float(w[0])
        return -gentle * x - (steep - gentle) * (softplus(x - begin) - softplus(x - end))

    return Surface(FunctionLandscape(loss, gradients, n=1), np.array([np.inf]), gradients)


def bumpy(flat: float, steep: float, bump: float, place: float, width: float) -> Surface:
    """½·flat·x² + ½·steep·y² + bump·exp(−½((x − place)/width)²): a ridge across the way to the minimum.

    Where bump·e^(−½)/width exceeds flat·|place| the ridge holds a shallow minimum before it.
    """
    curvature = np.array([flat, steep])

    def height(x: Array) -> Array:
        return np.asarray(bump * np.exp(-0.5 * ((x - place) / width) ** 2))

    def gradients(points: Array) -> Array:
        slope = curvature * points
        x = points[..., 0]
        slope[..., 0] -= height(x) * (x - place) / width**2
        return np.asarray(slope)

    def loss(w: Array) -> float:
        return 0.5 * float(curvature @ (w * w)) + float(height(w[0]))

    return Surface(FunctionLandscape(loss, gradients, n=2, lower_bound=0.0), np.zeros(2), gradients)
