"""The loss along one direction: slope, curvature, third and fourth derivative, and whether there is a kink."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NonFiniteError
from ..landscape import Landscape
from .gate import norm_of

Array = NDArray[Any]

_ROUNDS = 4  # the steps shrink by 16 from round to round: 2 ... 5 decades below the first


@dataclass(frozen=True)
class DirectionalModel:
    """φ(t) = L(θ + t·v) near t = 0 for a unit vector v.

    Attributes:
        slope: φ'(0) = vᵀ∇L.
        slope_noise: what rounding alone may contribute to a slope.
        curvature: φ''(0) = vᵀHv, from a Hessian product.
        third: φ'''(0), from slopes at ±t.
        fourth: φ''''(0), from slopes at ±t.
        step: the t at which third and fourth were measured.
        kink: True when second differences grow without end as t shrinks (like 1/t), False when they settle, None
            when they settle at something else than vᵀHv or rounding hides the answer.
        disagreement: |second difference − vᵀHv| at the smallest step tried.
    """

    slope: float
    slope_noise: float
    curvature: float
    third: float
    fourth: float
    step: float
    kink: bool | None
    disagreement: float

    def change(self, t: float) -> float:
        """Model of L(θ + t·v) − L(θ), cautious: |φ'''| and max(φ'''', 0), which for t > 0 only raise it."""
        return (
            self.slope * t + self.curvature * t**2 / 2 + abs(self.third) * t**3 / 6 + max(self.fourth, 0.0) * t**4 / 24
        )

    def reversed(self) -> DirectionalModel:
        """The same along −v."""
        return DirectionalModel(
            -self.slope,
            self.slope_noise,
            self.curvature,
            -self.third,
            self.fourth,
            self.step,
            self.kink,
            self.disagreement,
        )

    def best_step(self, largest: float) -> float:
        """The t in (0, largest] where `change` is lowest, for slope ≤ 0 and curvature < 0.

        With φ'''' = 0 this is (−ρ + √(ρ² − 2·M·slope))/M, at slope 0 the 2|ρ|/M of the cubic model.
        """
        scale = max(abs(self.slope), abs(self.curvature) * largest)
        if scale == 0.0:
            return largest
        # in units of `largest`, so that no coefficient overflows
        coefficients = np.array(
            [
                max(self.fourth, 0.0) * largest**3 / 6,
                abs(self.third) * largest**2 / 2,
                self.curvature * largest,
                self.slope,
            ]
        )
        roots = np.roots(coefficients / scale) if np.isfinite(coefficients).all() else np.array([])
        real = roots.real[(np.abs(roots.imag) <= 1e-9 * np.abs(roots.real)) & (roots.real > 1e-12)]
        return largest * min(1.0, float(real.max())) if real.size else largest


@dataclass(frozen=True)
class _Differences:
    """Central differences of slopes at one t: second, third and fourth derivative of φ, and their rounding."""

    t: float
    second: float
    third: float
    fourth: float
    noise: float


def measure(
    land: Landscape,
    theta: Array,
    direction: Array,
    *,
    curvature: float,
    gradient: Array,
    norm: float,
    radius: float,
    noise: float = 0.0,
    smooth: bool = False,
) -> DirectionalModel:
    """Follow the loss along ±direction at t, t/2, t/4, … and compare its bending with the Hessian product.

    Args:
        land: the landscape.
        theta: the point, (n,).
        direction: unit vector v, (n,).
        curvature: vᵀHv.
        gradient: ∇L(θ), (n,).
        norm: ‖H‖ (the larger of the two ends of the spectrum will do).
        radius: first t; smaller ones follow until second differences settle.
        noise: known error of `curvature`.
        smooth: there is no kink: the first second difference that equals the curvature settles it.

    Raises:
        NonFiniteError: the gradient within `radius` is not finite at any step tried.
    """
    v = np.asarray(direction, dtype=np.float64)
    slope = float(v @ np.asarray(gradient, dtype=np.float64))
    size = norm_of(theta)
    eps = float(np.finfo(land.dtype).eps)
    # backward error: slopes are exact for a θ that is off by eps·‖θ‖
    slope_noise = 2.0 * eps * (norm_of(gradient) + norm * max(1.0, size))

    def differences(t: float) -> _Differences:
        plus, minus = (slope_at(land, theta, v, sign * t) for sign in (1.0, -1.0))
        second = (plus - minus) / (2 * t)
        third = (plus - 2 * slope + minus) / t**2
        return _Differences(t, second, third, 6 * (second - curvature) / t**2, slope_noise / t)

    kink, best, gap = _settle(differences, curvature, norm, radius, noise, smooth)
    return DirectionalModel(slope, slope_noise, curvature, best.third, best.fourth, best.t, kink, gap)


def slope_at(land: Landscape, theta: Array, v: Array, t: float) -> float:
    """φ'(t); NaN where the gradient is not finite."""
    _, gradient = land.gradient(np.asarray(theta + t * v, dtype=land.dtype))
    return float(v @ np.asarray(gradient, dtype=np.float64))


def _settle(
    differences: Callable[[float], _Differences],
    curvature: float,
    norm: float,
    radius: float,
    noise: float,
    smooth: bool,
) -> tuple[bool | None, _Differences, float]:
    """Shrink t until second differences equal the curvature; else the trend of the last round decides."""
    close = max(0.1 * abs(curvature), 1e-5 * norm)
    verdict: bool | None = None
    best: _Differences | None = None
    gap = first_gap = float("inf")
    for round_ in range(_ROUNDS):
        t = radius / 16.0**round_
        triple: list[_Differences] = []
        for division in (1, 2, 4):
            triple.append(differences(t / division))
            miss, blur = abs(triple[-1].second - curvature), 2 * (triple[-1].noise + noise)
            if smooth and miss <= close + blur and blur <= max(close, 1e-3 * norm):
                return False, triple[-1], miss
        if not all(np.isfinite(d.second) for d in triple):
            continue
        last = triple[-1]
        if round_ and 2 * last.noise > max(close, 1e-3 * norm):
            break
        agreeing = [d for d in triple if abs(d.second - curvature) <= close + 2 * (d.noise + noise)]
        first_gap = first_gap if best is not None else abs(triple[0].second - curvature)
        gap = abs(last.second - curvature)
        best = agreeing[0] if agreeing else last
        verdict = _kink_by_trend(triple)
        if last in agreeing and not verdict:
            readable = 2 * (last.noise + noise) <= max(close, 1e-3 * norm)
            return (False if readable else None), best, gap
    if best is None:
        raise NonFiniteError(
            f"the gradient is not finite at theta ± t·v for t = {radius:.3g} and below: `theta` lies at the edge of "
            "the region where the loss is defined"
        )
    if verdict is False and gap > 0.5 * first_gap:
        verdict = None  # settled, but not at vᵀHv
    return verdict, best, gap


def _kink_by_trend(triple: list[_Differences]) -> bool | None:
    """1/t makes the second of two successive changes twice the first; t² a quarter of it; None within rounding."""
    first = abs(triple[1].second - triple[0].second)
    then = abs(triple[2].second - triple[1].second)
    if then <= 4 * triple[2].noise:
        return None
    return then > 1.2 * first
