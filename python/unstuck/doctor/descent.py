"""Is there a lower loss close to a degenerate point? Looked for by following the slope of a small sphere around it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..critical import CriticalPoint
from ..train import gradient_norm
from .evidence import Descent
from .objective import Objective
from .subject import Clock

Array = NDArray[Any]

STARTS, TURNS = 3, 60
# Gauss–Legendre nodes and weights on [0, 1]: exact for polynomials of degree 11
_NODES, _WEIGHTS = (a / 2 for a in np.polynomial.legendre.leggauss(6))
_NODES = _NODES + 0.5


def find_descent(
    objective: Objective, theta: Array, cp: CriticalPoint, clock: Clock, seconds: float
) -> tuple[Descent, Array]:
    """A fall of the loss that begins at `theta` and that neither slope nor curvature there explain.

    Looked for on the sphere of the gate's radius r, then of 10r and 100r: near a point where the first k
    derivatives vanish the fall is about rᵏ⁺¹, which rounding hides for small r. It counts only if the loss falls all
    the way. It is the integral of −dᵀ∇L along the straight path, because the difference of two float32 losses would
    be rounding. Each of the three spheres gets a third of `seconds`.

    Returns:
        (Descent, unit direction (n,) in float64); the first verified one, else the one on the smallest sphere.
    """
    rng = np.random.default_rng(0)
    answer: tuple[Descent, Array] | None = None
    for factor in (1.0, 10.0, 100.0):
        radius = factor * cp.gate.radius
        found = []
        for _ in range(STARTS):
            d = _slide(objective, theta, radius, rng.standard_normal(objective.n), clock, seconds / 3 / STARTS)
            found.append((*fall_along(objective, theta, radius, d), d))
        fall, error, d = max(found, key=lambda item: item[0])
        # slope and curvature at the point itself: r‖g‖ + ½r²·max(−λ_min, 0)
        explained = radius * cp.gradient_norm + 0.5 * radius**2 * max(-cp.lambda_min.lower, 0.0)
        descent = Descent(fall, radius, explained, error)
        if descent.verified:
            return descent, d
        answer = answer or (descent, d)
    assert answer is not None
    return answer


def _slide(objective: Objective, theta: Array, radius: float, start: Array, clock: Clock, seconds: float) -> Array:
    """A direction of low loss on the sphere: Adam's update of the point, put back onto the sphere every time.

    Adam, because the forces of flat and of curved directions differ by many orders of magnitude here.
    """
    began = clock.elapsed
    d: Array = start / np.linalg.norm(start)
    first, second = np.zeros_like(d), np.zeros_like(d)
    for turn in range(1, TURNS + 1):
        slope = objective.gradient(_at(theta, radius, d))[1].astype(np.float64)
        if not np.isfinite(slope).all() or clock.elapsed - began > seconds:
            break
        first += 0.1 * (slope - first)
        second += 0.01 * (slope * slope - second)
        step = first / (1 - 0.9**turn) / (np.sqrt(second / (1 - 0.99**turn)) + 1e-300)
        d -= 0.1 / np.sqrt(d.size) * step
        d /= np.linalg.norm(d)
    return d


def fall_along(objective: Objective, theta: Array, radius: float, d: Array) -> tuple[float, float]:
    """(L(θ) − L(θ + r·d), its uncertainty) from slopes: ∫₀ʳ −dᵀ∇L(θ + t·d) dt; −∞ if the path rises somewhere."""
    slopes, sizes = [], []
    for t in _NODES * radius:
        gradient = objective.gradient(_at(theta, float(t), d))[1].astype(np.float64)
        slopes.append(-float(gradient @ d))
        sizes.append(gradient_norm(gradient))
    error = radius * float(np.finfo(objective.dtype).eps) * max(sizes)
    downhill = min(slopes) * radius > -error
    fall = radius * float(_WEIGHTS @ np.array(slopes)) if downhill else -np.inf
    return fall, error


def far_along(objective: Objective, theta: Array, radius: float, longest: float, d: Array) -> Array:
    """θ + t·d with t doubled from `radius` for as long as the loss falls on, at most to `longest`."""
    t, loss = radius, objective.loss(_at(theta, radius, d))
    while 2 * t <= longest:
        further = objective.loss(_at(theta, 2 * t, d))
        # below rounding the loss cannot say that it rises
        if not further <= loss + 4 * np.finfo(objective.dtype).eps * abs(loss):
            break
        t, loss = 2 * t, further
    return _at(theta, t, d)


def _at(theta: Array, t: float, d: Array) -> Array:
    point: Array = np.asarray(theta + t * d, dtype=theta.dtype)
    return point
